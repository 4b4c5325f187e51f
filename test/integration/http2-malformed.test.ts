/** HTTP/2 that breaks the rules: of apps to the outbound listener, by raw frames; nothing of it reaches a worker. */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { http2Client } from '../support/wire/version-clients.ts';
import { Wire } from '../support/wire/wire.ts';
import { startHttp2Worker, type VersionWorker } from '../support/workers/version-workers.ts';

/** One raw HTTP/2 connection; frames other than those of the connection itself are looked at by the tests. */
class FrameWire {
  readonly #wire: Wire;
  #nextStream = 1;

  static async open(port: number): Promise<FrameWire> {
    const wire = await Wire.connect(port);
    onTestEnd(() => wire.close());
    wire.send(Buffer.concat([h2.PREFACE, h2.settings(), h2.settingsAck()]));
    return new FrameWire(wire);
  }

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  get wire(): Wire {
    return this.#wire;
  }

  send(...frames: Buffer[]): void {
    this.#wire.send(Buffer.concat(frames));
  }

  stream(): number {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    return stream;
  }

  /** The next frame of one of these types. */
  async frame(types: readonly number[]): Promise<h2.Frame> {
    for (;;) {
      const { frame, length } = await this.#wire.when('a frame', () => h2.readFrame(this.#wire.bytes));
      this.#wire.take(length);
      if (types.includes(frame.type)) return frame;
    }
  }

  /** How the stream ends: `reset CODE`, `goaway CODE`, `answer`. */
  async verdict(stream: number): Promise<string> {
    for (;;) {
      const frame = await this.frame([h2.HEADERS, h2.RST_STREAM, h2.GOAWAY]);
      if (frame.type === h2.GOAWAY) return `goaway ${frame.payload.readUInt32BE(4)}`;
      if (frame.stream !== stream) continue;
      if (frame.type === h2.RST_STREAM) return `reset ${frame.payload.readUInt32BE(0)}`;
      return 'answer';
    }
  }
}

const TARGET = '/service/two/body';
const GET = [':method', 'GET', ':scheme', 'http', ':path', TARGET, ':authority', 'x'];
const POST = [':method', 'POST', ':scheme', 'http', ':path', TARGET, ':authority', 'x'];

function changed(name: string, value: string): string[] {
  return GET.map((text, n) => (n % 2 === 1 && GET[n - 1] === name ? value : text));
}

function less(name: string): string[] {
  return GET.filter((_, n) => GET[n - (n % 2)] !== name);
}

/** Each a stream error: RFC 9113 §8.1.1 (malformed). */
const MALFORMED: readonly (readonly [string, readonly string[]])[] = [
  ['a name in upper case', [...GET, 'X-Upper', '1']],
  ['connection', [...GET, 'connection', 'close']],
  ['keep-alive', [...GET, 'keep-alive', '5']],
  ['proxy-connection', [...GET, 'proxy-connection', 'close']],
  ['transfer-encoding', [...GET, 'transfer-encoding', 'chunked']],
  ['upgrade', [...GET, 'upgrade', 'websocket']],
  ['te other than trailers', [...GET, 'te', 'gzip']],
  ['no method', less(':method')],
  ['no scheme', less(':scheme')],
  ['no path', less(':path')],
  ['an empty path', changed(':path', '')],
  ['a path that is none', changed(':path', 'service/two/body')],
  ['a path in absolute form', changed(':path', 'http://two.mesh/body')],
  ['a path with a space', changed(':path', `${TARGET} HTTP/1.1`)],
  ['a path with a fragment', changed(':path', `${TARGET}#x`)],
  ['a path with CRLF', changed(':path', `${TARGET}\r\nx: y`)],
  ['a path of *, not for OPTIONS', changed(':path', '*')],
  ['neither authority nor host', less(':authority')],
  ['an empty authority', changed(':authority', '')],
  ['an authority with a user', changed(':authority', 'me@x')],
  ['an authority with a path', changed(':authority', 'x/y')],
  ['host and authority that differ', [...GET, 'host', 'y']],
  ['two hosts', [...GET, 'host', 'x', 'host', 'x']],
  ['two methods', [...GET.slice(0, 2), ...GET]],
  ['an unknown pseudo-header field', [...GET.slice(0, 2), ':version', '1', ...GET.slice(2)]],
  ['a pseudo-header field of a response', [':status', '200', ...GET]],
  ['a pseudo-header field after a field', ['x-first', '1', ...GET]],
  ['a method with a space', changed(':method', 'GET /')],
  ['two lengths', [...GET, 'content-length', '0', 'content-length', '0']],
  ['a length that is no number', [...GET, 'content-length', '+1']],
  ['a length and no body', [...GET, 'content-length', '5']],
  ['extended CONNECT, which was not offered', [...changed(':method', 'CONNECT'), ':protocol', 'websocket']],
];

/** Well-formed, and answered. */
const REFUSED: readonly (readonly [string, readonly string[], number])[] = [
  ['a long path', changed(':path', `${TARGET}?${'q'.repeat(20_000)}`), 414],
  [
    'a large head',
    [...GET, ...Array.from({ length: 9 }, (_, n) => [`x-${n}`, 'v'.repeat(8_000)]).flat()],
    431,
  ],
  ['many fields', [...GET, ...Array.from({ length: 230 }, (_, n) => [`x-${n}`, 'v']).flat()], 431],
  ['a scheme that is not http', changed(':scheme', 'ftp'), 400],
  ['CONNECT', [':method', 'CONNECT', ':authority', 'x:80'], 501],
  ['no service', changed(':path', '/'), 404],
];

async function bed(): Promise<{ worker: VersionWorker; member: Member; port: number }> {
  const worker = await startHttp2Worker();
  // All are in one process: what a flood costs here is time that a connection to the worker waits.
  const env = { SIDECAR_OUTBOUND_HOSTS: 'x', SIDECAR_TIMEOUT_WORKER_CONNECT: '30s' };
  const member = await new TestMesh().join({ id: 'alone', services: { two: worker.url }, env });
  return { worker, member, port: member.running.outbound.port };
}

describe('malformed HTTP/2 of an app', () => {
  test('malformed requests are stream errors, and their connection lives', async () => {
    const { worker, port } = await bed();
    const frames = await FrameWire.open(port);
    for (const [what, fields] of MALFORMED) {
      const stream = frames.stream();
      frames.send(h2.headers(stream, fields, h2.END_STREAM));
      expectNamed(await frames.verdict(stream), what).toBe(`reset ${h2.PROTOCOL_ERROR}`);
    }
    const good = frames.stream();
    frames.send(h2.headers(good, GET, h2.END_STREAM));
    expect(await frames.verdict(good)).toBe('answer');
    expect((await worker.events.next()).what).toBe('body'); // of the good one, and of no other
    expect(worker.events.size).toBe(0);
  });

  test('bodies that break their promise never look whole to a worker', async () => {
    const { worker, port } = await bed();
    const broken: readonly (readonly [string, (stream: number) => Buffer[]])[] = [
      [
        'more than its length',
        (stream) => [
          h2.headers(stream, [...POST, 'content-length', '3'], 0),
          h2.frame(h2.DATA, h2.END_STREAM, stream, 'four'),
        ],
      ],
      [
        'less than its length',
        (stream) => [
          h2.headers(stream, [...POST, 'content-length', '5'], 0),
          h2.frame(h2.DATA, h2.END_STREAM, stream, 'four'),
        ],
      ],
      [
        'trailers with a pseudo-header field',
        (stream) => [h2.headers(stream, POST, 0), h2.headers(stream, [':path', '/'], h2.END_STREAM)],
      ],
      [
        'trailers that do not end the stream',
        (stream) => [h2.headers(stream, POST, 0), h2.headers(stream, ['x-up', '1'], 0)],
      ],
    ];
    for (const [what, send] of broken) {
      const frames = await FrameWire.open(port);
      const stream = frames.stream();
      frames.send(...send(stream));
      // node:http2 makes a connection error of some (RFC 9113 §5.4.1 leaves that to it).
      expectNamed(await frames.verdict(stream), what).toMatch(/^(?:reset 1|goaway [12])$/);
    }
    expect(worker.events.size).toBe(0);
  });

  test('an upload that is reset is cut, whatever the code', async () => {
    const { worker, port } = await bed();
    // NO_ERROR too: streams of Node end as if END_STREAM had come.
    for (const code of [h2.NO_ERROR, h2.CANCEL, h2.INTERNAL_ERROR]) {
      const frames = await FrameWire.open(port);
      const stream = frames.stream();
      const echo = POST.map((text) => (text === TARGET ? '/service/two/echo' : text));
      frames.send(h2.headers(stream, echo, 0), h2.frame(h2.DATA, 0, stream, 'half'));
      expect((await frames.frame([h2.DATA])).payload.toString()).toBe('half');
      frames.send(h2.reset(stream, code));
      const { what, path } = await worker.events.next();
      expectNamed([what, path], `code ${code}`).toStrictEqual(['aborted', '/echo']);
    }
  });

  test('what is over a limit is answered', async () => {
    const { port, worker } = await bed();
    const client = http2Client(port);
    for (const [what, fields, status] of REFUSED) {
      const frames = await FrameWire.open(port);
      const stream = frames.stream();
      const block = h2.fieldBlock(fields);
      const parts: Buffer[] = [];
      for (let at = 0; at < block.length; at += 16_384) parts.push(block.subarray(at, at + 16_384));
      frames.send(
        ...parts.map((part, n) => {
          const flags = (n === 0 ? h2.END_STREAM : 0) | (n === parts.length - 1 ? h2.END_HEADERS : 0);
          return h2.frame(n === 0 ? h2.HEADERS : h2.CONTINUATION, flags, stream, part);
        }),
      );
      const head = await frames.frame([h2.HEADERS, h2.RST_STREAM, h2.GOAWAY]);
      expectNamed(head.type, what).toBe(h2.HEADERS);
      // The first field of a response is :status, as a literal: its digits are in the block.
      expectNamed(statusIn(head.payload), `${what}: ${statusIn(head.payload)}`).toBe(status);
    }
    expect((await client.call({ path: TARGET }).done).status).toBe(200);
    expect((await worker.events.next()).what).toBe('body');
    expect(worker.events.size).toBe(0);
  });

  /** `:status` by HPACK: an index of the static table, or a literal whose digits may be Huffman-coded. */
  function statusIn(block: Buffer): number {
    const indexed = new Map([
      [0x88, 200],
      [0x8c, 400],
      [0x8d, 404],
    ]);
    const known = indexed.get(block[0] as number);
    if (known !== undefined) return known;
    // 0x48: literal with incremental indexing, name :status; digits 0-9 are 5 or 6 bits in Huffman code.
    const isHuffman = ((block[1] as number) & 0x80) !== 0;
    const length = (block[1] as number) & 0x7f;
    const value = block.subarray(2, 2 + length);
    if (!isHuffman) return Number(value.toString('latin1'));
    let bits = [...value].map((octet) => octet.toString(2).padStart(8, '0')).join('');
    let digits = '';
    while (digits.length < 3) {
      const short = ['00000', '00001', '00010'].indexOf(bits.slice(0, 5));
      if (short >= 0) {
        digits += String(short);
        bits = bits.slice(5);
      } else {
        digits += String(Number.parseInt(bits.slice(0, 6), 2) - 0b011001 + 3);
        bits = bits.slice(6);
      }
    }
    return Number(digits);
  }

  test('frames that break the connection end that connection alone', async () => {
    const { port } = await bed();
    const other = http2Client(port);
    const broken: readonly (readonly [string, Buffer])[] = [
      ['no SETTINGS first', Buffer.concat([h2.PREFACE, h2.frame(h2.PING, 0, 0, Buffer.alloc(8))])],
      [
        'a frame that is too large',
        Buffer.concat([h2.PREFACE, h2.settings(), h2.frame(h2.DATA, 0, 1, Buffer.alloc(16_385))]),
      ],
      ['DATA on stream 0', Buffer.concat([h2.PREFACE, h2.settings(), h2.frame(h2.DATA, 0, 0, 'x')])],
      [
        'HEADERS on an even stream',
        Buffer.concat([h2.PREFACE, h2.settings(), h2.headers(2, GET, h2.END_STREAM)]),
      ],
      [
        'broken HPACK',
        Buffer.concat([
          h2.PREFACE,
          h2.settings(),
          h2.frame(h2.HEADERS, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ]),
      ],
      [
        'CONTINUATION of nothing',
        Buffer.concat([h2.PREFACE, h2.settings(), h2.frame(h2.CONTINUATION, 4, 1, 'x')]),
      ],
      [
        'a window that overflows',
        Buffer.concat([
          h2.PREFACE,
          h2.settings(),
          h2.windowUpdate(0, 0x7fffffff),
          h2.windowUpdate(0, 0x7fffffff),
        ]),
      ],
      ['a preface with a fault at its end', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\rX', 'latin1')],
    ];
    for (const [what, bytes] of broken) {
      const wire = await Wire.connect(port);
      onTestEnd(() => wire.close());
      wire.send(bytes);
      await wire.ended();
      expectNamed(wire.end, what).not.toBe(null);
      expectNamed((await other.call({ path: TARGET }).done).status, what).toBe(200);
    }
  });

  /** Many frames are much work; one whose flood is not seen is kept for 75 s and more. */
  const FLOOD_PATIENCE_MS = 30_000;

  /** A head that does not end would be cut after 10 s anyway. */
  const HEAD_PATIENCE_MS = 9_000;

  test('floods end their connection, and no other', async () => {
    const { port } = await bed();
    const other = http2Client(port);
    const start = Buffer.concat([h2.PREFACE, h2.settings()]);
    // Rapid reset (CVE-2023-44487): far beyond what an app that ends does. So many that a slow machine, whose limit grows
    // by 1,000 each second that it takes to read them, comes to the end of it too.
    const resets: Buffer[] = [start];
    for (let n = 0; n < 40_000; n++)
      resets.push(h2.headers(2 * n + 1, GET, h2.END_STREAM), h2.reset(2 * n + 1, h2.CANCEL));
    const settings = Buffer.concat([
      start,
      ...Array.from({ length: 20_000 }, () => h2.settings({ 4: 65_535 })),
    ]);
    const pings = Buffer.concat([
      start,
      ...Array.from({ length: 200_000 }, () => h2.frame(h2.PING, 0, 0, Buffer.alloc(8))),
    ]);
    // CONTINUATION without end (CVE-2024-27983).
    const endless = Buffer.concat([
      start,
      h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.fieldBlock(GET)),
      ...Array.from({ length: 1_000 }, (_, n) =>
        h2.frame(h2.CONTINUATION, 0, 1, h2.fieldBlock([`x-${n}`, 'v'.repeat(1_000)])),
      ),
    ]);
    for (const [what, bytes, patienceMs] of [
      ['resets', Buffer.concat(resets), FLOOD_PATIENCE_MS],
      ['SETTINGS', settings, FLOOD_PATIENCE_MS],
      ['PING', pings, FLOOD_PATIENCE_MS],
      ['CONTINUATION', endless, HEAD_PATIENCE_MS],
    ] as const) {
      const wire = await Wire.connect(port);
      onTestEnd(() => wire.close());
      wire.socket.pause(); // who floods does not read
      wire.send(bytes);
      setImmediate(() => wire.socket.resume());
      await wire.ended(patienceMs);
      expectNamed((await other.call({ path: TARGET }).done).status, what).toBe(200);
    }
  });

  test('the preface may come byte by byte, and must come in time', async () => {
    const worker = await startHttp2Worker();
    const member = await new TestMesh().join({
      id: 'alone',
      services: { two: worker.url },
      env: { SIDECAR_OUTBOUND_HOSTS: 'x', SIDECAR_HEAD_TIMEOUT: '500ms' },
    });
    const { port } = member.running.outbound;
    const wire = await Wire.connect(port);
    onTestEnd(() => wire.close());
    for (const octet of Buffer.concat([h2.PREFACE, h2.settings(), h2.headers(1, GET, h2.END_STREAM)])) {
      wire.send(Buffer.from([octet]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await new FrameWire(wire).verdict(1)).toBe('answer');
    // HTTP/1.1 that begins in the same way is HTTP/1.1.
    const one = await Wire.connect(port);
    onTestEnd(() => one.close());
    one.send('P');
    one.send(`ROPFIND ${TARGET} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await one.until('\r\n')).toMatch(/^HTTP\/1\.1 200 /);
    // Half a preface is a head that does not end.
    const half = await Wire.connect(port);
    onTestEnd(() => half.close());
    half.send('PRI * HTTP/2.0\r\n\r\nSM');
    expect(await half.until('\r\n')).toMatch(/^HTTP\/1\.1 408 /);
    // HTTP/1.1 first, then the preface: no.
    const later = await Wire.connect(port);
    onTestEnd(() => later.close());
    later.send(`GET ${TARGET} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await later.until('\r\n0\r\n\r\n');
    later.send(h2.PREFACE);
    expect(await later.until('\r\n\r\n')).toMatch(/HTTP\/1\.1 400 /);
  });
});
