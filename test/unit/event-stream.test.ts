/** Where a comment may stand in an event stream. */
import { describe, expect, test } from '@jest/globals';
import { COMMENT, EventStreamPlace, takesComments } from '../../sidecar/core/http/event-stream.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const TYPE = ['Content-Type', 'text/event-stream'];

describe('comments in an event stream', () => {
  test('plain event streams take comments, and nothing else does', () => {
    expect(takesComments(200, TYPE)).toBe(true);
    expect(
      takesComments(200, [
        'content-type',
        'Text/Event-Stream ; charset=utf-8',
        'Content-Encoding',
        'identity',
      ]),
    ).toBe(true);
    for (const [status, fields] of [
      [206, TYPE],
      [404, TYPE],
      [200, ['Content-Type', 'text/plain']],
      [200, []],
      [200, [...TYPE, 'Content-Encoding', 'gzip']],
      [200, [...TYPE, 'Cache-Control', 'no-cache, No-Transform']],
      [200, [...TYPE, 'Content-Digest', 'sha-256=:x:']],
      [200, [...TYPE, 'Trailer', 'X-Sum, Repr-Digest']],
    ] as const)
      expectNamed(takesComments(status, [...fields]), `${status} ${fields.join(' ')}`).toBe(false);
  });

  function placeAfter(...chunks: string[]): EventStreamPlace {
    const place = new EventStreamPlace();
    for (const chunk of chunks) place.took(Buffer.from(chunk, 'latin1'));
    return place;
  }

  test('a comment may stand between events only', () => {
    for (const chunks of [
      [],
      [''],
      ['data: 1\n\n'],
      ['a\r\n\r\n'],
      ['a\n', '\n'],
      ['a\r', '\n', '\r', '\n'],
      ['\n\r\n'],
    ])
      expectNamed(placeAfter(...chunks).isBetweenEvents, JSON.stringify(chunks)).toBe(true);
    for (const chunks of [
      ['data: 1\n'],
      ['d'],
      ['data: 1\r\n'],
      ['a\r\r'],
      ['a\n\r'],
      ['a\n', 'b'],
      ['\n'],
      ['a\r\n\r'],
    ])
      expectNamed(placeAfter(...chunks).isBetweenEvents, JSON.stringify(chunks)).toBe(false);
  });

  /** Events as a browser reads them (WHATWG HTML, "Interpreting an event stream"). */
  function read(text: string): string[] {
    const events: string[] = [];
    let data: string[] = [];
    let type = '';
    for (const line of text.replace(/^\xef\xbb\xbf/, '').split(/\r\n|\n|\r/)) {
      if (line === '') {
        if (data.length > 0) events.push(`${type}|${data.join('\n')}`);
        data = [];
        type = '';
      } else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      else if (line.startsWith('event:')) type = line.slice(6).replace(/^ /, '');
    }
    return events;
  }

  test('whoever reads the stream reads the same events with comments at every place they may stand', () => {
    for (const stream of [
      'data: 1\n\nevent: x\ndata: 2\ndata: 3\n\n: own\n\ndata: 4\n\n',
      'data: 1\r\n\r\nevent: x\r\ndata: 2\r\n\r\n\r\ndata: 3\r\n\r\n',
      'data: 1\r\revent: x\rdata: 2\r\r',
      'data: 1\r\r\n\ndata: 2\n\r\ndata: 3\n\n',
      '\xef\xbb\xbfdata: 1\n\ndata: 2\n\n',
    ]) {
      for (const step of [1, 2, 3, 4, 5, 1_000]) {
        const place = new EventStreamPlace();
        let sent = '';
        const comment = (): void => {
          if (!place.isBetweenEvents) return;
          place.commented();
          sent += COMMENT.toString('latin1');
        };
        comment();
        for (let at = 0; at < stream.length; at += step) {
          sent += place.took(Buffer.from(stream.slice(at, at + step), 'latin1')).toString('latin1');
          comment();
        }
        const isMarkCut = stream.startsWith('\xef') && step < 3;
        if (!isMarkCut) expectNamed(read(sent), JSON.stringify([step, sent])).toStrictEqual(read(stream));
      }
    }
  });
});
