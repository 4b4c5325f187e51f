import { describe, expect, test } from '@jest/globals';
import {
  ChunkedDecoder,
  type ChunkedStep,
  chunkHead,
  encodeChunk,
  lastChunk,
} from '../../sidecar/core/http/chunked.ts';
import { fail } from '../support/runner/expectations.ts';

function decode(text: string): { step: ChunkedStep; data: string } {
  const bytes = Buffer.from(text, 'latin1');
  let data = '';
  const step = new ChunkedDecoder().feed(bytes, 0, bytes.length, (slice) => {
    data += slice.toString('latin1');
  });
  return { step, data };
}

describe('decoding chunked content', () => {
  test('chunks, extensions and trailers', () => {
    const text =
      '5\r\nhello\r\n6;a=b;c="d;e" \r\n world\r\n00A ; x\r\n0123456789\r\n0;last\r\nX: 1\r\ny:  2 \r\n\r\n';
    const { step, data } = decode(`${text}GET /`);
    expect(step).toStrictEqual({ kind: 'done', end: text.length, trailers: ['X', '1', 'y', '2'] });
    expect(data).toBe('hello world0123456789');
  });

  test('data is handed out as views, as far as it has come', () => {
    const decoder = new ChunkedDecoder();
    const bytes = Buffer.from('a\r\n01234');
    const slices: Buffer[] = [];
    expect(decoder.feed(bytes, 0, bytes.length, (slice) => slices.push(slice))).toStrictEqual({
      kind: 'more',
    });
    expect(slices[0]!.buffer).toBe(bytes.buffer);
    expect(slices[0]!.toString()).toBe('01234');
  });

  test('no data is no call', () => {
    expect(decode('0\r\n\r\n').data).toBe('');
    new ChunkedDecoder().feed(Buffer.from('0\r\n\r\n'), 0, 5, () => fail('no data to hand out'));
  });

  const BAD: readonly (readonly [name: string, body: string])[] = [
    ['an empty size', '\r\nhello\r\n'],
    ['an extension without a size', ';a\r\n'],
    ['a size that is not hexadecimal', 'g\r\n'],
    ['a size with 0x', '0x5\r\nhello\r\n'],
    ['a negative size', '-5\r\n'],
    ['a size with a plus', '+5\r\n'],
    ['a size with an underscore', '1_0\r\n'],
    ['a space before the size', ' 5\r\nhello\r\n'],
    ['a space after the size', '5 \r\nhello\r\n'],
    ['a tab after the size', '5\t\r\nhello\r\n'],
    ['a size over 2^53', '20000000000000\r\n'],
    ['a size of 2^64', '10000000000000000\r\n'],
    ['a size of 2^64 + 5', '10000000000000005\r\nhello\r\n'],
    ['a size of 17 zeros', '00000000000000000\r\n'],
    ['a bare line feed after the size', '5\nhello\r\n'],
    ['a bare carriage return after the size', '5\rhello\r\n'],
    ['an extension without a name', '5;\r\nhello\r\n'],
    ['an extension that begins with =', '5;=a\r\nhello\r\n'],
    ['a bare line feed in an extension', '5;a\nhello\r\n'],
    ['a bare carriage return in an extension', '5;a\rb\r\nhello\r\n'],
    ['NUL in an extension', '5;a\0\r\nhello\r\n'],
    ['an extension of 2 KiB', `5;${'a'.repeat(2048)}\r\nhello\r\n`],
    ['data longer than its size', '5\r\nhello!\r\n'],
    ['data shorter than its size', '6\r\nhello\r\n0\r\n\r\n'],
    ['a bare line feed after the data', '5\r\nhello\n0\r\n\r\n'],
    ['a bare carriage return after the data', '5\r\nhello\r0\r\n\r\n'],
    ['another octet for the carriage return after the data', '5\r\nhelloX\n0\r\n\r\n'],
    ['another octet for the line feed after the data', '5\r\nhello\rX0\r\n\r\n'],
    ['no line end after the data', '5\r\nhello0\r\n\r\n'],
    ['a folded trailer', '0\r\nX: a\r\n b\r\n\r\n'],
    ['a trailer with a space before its colon', '0\r\nX : a\r\n\r\n'],
    ['a trailer without a colon', '0\r\nXyz\r\n\r\n'],
    ['a trailer with NUL', '0\r\nX: \0\r\n\r\n'],
    ['a bare line feed after a trailer', '0\r\nX: a\n\r\n'],
    ['a bare line feed at the end', '0\r\n\n'],
    ['65 trailers', `0\r\n${'X: 1\r\n'.repeat(65)}\r\n`],
    ['9 KiB of trailers', `0\r\nX: ${'a'.repeat(9000)}\r\n\r\n`],
    ['trailers that never end', `0\r\nX: ${'a'.repeat(9000)}`],
  ];

  for (const [name, body] of BAD) {
    test(`refused: ${name}`, () => expect(decode(body).step.kind).toBe('bad'));
  }

  test('extensions on every byte of data add up to a refusal', () => {
    expect(decode(`1;${'x'.repeat(1000)}\r\na\r\n`.repeat(100)).step.kind).toBe('bad');
  });

  test('small extensions on an endless stream do not', () => {
    const decoder = new ChunkedDecoder();
    const bytes = Buffer.from(`10;sig=0123456789\r\n${'a'.repeat(16)}\r\n`);
    for (let n = 0; n < 10_000; n++) expect(decoder.feed(bytes, 0, bytes.length, () => {}).kind).toBe('more');
  });

  test('trailers sent byte by byte are bounded in the same way', () => {
    const decoder = new ChunkedDecoder();
    const bytes = Buffer.from(`0\r\nX: ${'a'.repeat(9000)}`);
    let fed = 0;
    while (fed < bytes.length && decoder.feed(bytes, fed, fed + 1, () => {}).kind === 'more') fed++;
    expect(fed).toBe(3 + 8192 - 1);
  });

  test('trailers over the limit are refused, however they are cut', () => {
    const bytes = Buffer.from(`0\r\nX: ${'a'.repeat(9000)}\r\n\r\n`);
    const decoder = new ChunkedDecoder();
    expect(decoder.feed(bytes, 0, 5000, () => {}).kind).toBe('more');
    expect(decoder.feed(bytes, 5000, bytes.length, () => {}).kind).toBe('bad');
  });

  test('after the end nothing is taken, after a fault nothing is believed', () => {
    const done = new ChunkedDecoder();
    const end = Buffer.from('0\r\n\r\n');
    expect(done.feed(end, 0, end.length, () => {}).kind).toBe('done');
    expect(done.feed(end, 0, end.length, () => {})).toStrictEqual({ kind: 'done', end: 0, trailers: [] });
    const broken = new ChunkedDecoder();
    expect(broken.feed(Buffer.from('x'), 0, 1, () => {}).kind).toBe('bad');
    expect(broken.feed(end, 0, end.length, () => {}).kind).toBe('bad');
  });

  test('what is encoded has its size in front and its trailers behind', () => {
    expect(encodeChunk(Buffer.from('x'.repeat(26))).toString()).toBe(`1a\r\n${'x'.repeat(26)}\r\n`);
    expect(encodeChunk(Buffer.alloc(0)).length).toBe(0);
    expect(chunkHead(255)).toBe('ff\r\n');
    expect(lastChunk([]).toString()).toBe('0\r\n\r\n');
    expect(lastChunk(['X', '\xe9', 'Y', '']).toString('latin1')).toBe('0\r\nX: \xe9\r\nY: \r\n\r\n');
  });
});
