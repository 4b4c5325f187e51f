/** The sidecar's own small requests: whatever the other side does, they end in time, and say what it did. */
import dns from 'node:dns';
import net from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { SidecarError } from '../../sidecar/core/errors.ts';
import { ownGet } from '../../sidecar/http/own-get.ts';
import { type SmallGet, type SmallResponse, smallGet } from '../../sidecar/http/small-get.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { workerPools } from '../../sidecar/http/upstream-pools.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { expectNamed, fail, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const LIMIT_MS = 300;
const MAX_BYTES = 1_000;

type Asked = Omit<SmallGet, 'origin'> & {
  readonly origin: { readonly scheme: 'http'; readonly host: string; readonly port: number };
};

/** Both ways to ask. */
const WAYS: Readonly<Record<string, (get: Asked) => Promise<SmallResponse>>> = {
  'by undici': (get) => ownGet(get),
  'over the connections of requests': (get) => {
    const upstreams = workerPools({ limits: LIMITS, timers: new CoarseTimers(10), tlsCa: null });
    onTestEnd(() => upstreams.destroy());
    return smallGet(upstreams, { ...get, isFresh: true });
  },
};

/** Where such a server listens. */
async function portOf(serve: (socket: net.Socket) => void): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => serve(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as net.AddressInfo).port;
}

function asked(port: number, more: Partial<Asked> = {}): Asked {
  return {
    origin: { scheme: 'http', host: '127.0.0.1', port },
    target: '/x',
    fields: [],
    limitMs: LIMIT_MS,
    maxBytes: MAX_BYTES,
    ...more,
  };
}

/** The code and the words of the failure, which came in time. */
async function faultOf(answer: Promise<SmallResponse>): Promise<string> {
  const startedMs = performance.now();
  const fault: unknown = await answer.then(
    () => fail('expected a fault'),
    (error: unknown) => error,
  );
  mustHold(fault instanceof SidecarError, String(fault));
  const tookMs = performance.now() - startedMs;
  expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(LIMIT_MS + 700);
  return `${fault.code}${fault.isRefused ? ' refused' : ''}: ${fault.message}`;
}

function drip(socket: net.Socket, begin: string, more: string): void {
  socket.write(begin);
  const timer = setInterval(() => socket.write(more), 10);
  socket.on('close', () => clearInterval(timer));
}

const OK = 'HTTP/1.1 200 OK\r\n';
const LATE = /^response_timeout: no answer to GET \/x within 300 ms$/;

const FAULTS: readonly (readonly [string, (socket: net.Socket) => void, RegExp])[] = [
  ['says nothing', () => {}, LATE],
  ['drips its head', (socket) => drip(socket, OK, 'a: b\r\n'), LATE],
  ['drips its body', (socket) => drip(socket, `${OK}\r\n`, 'x'), LATE],
  ['sends interim responses for ever', (socket) => drip(socket, '', 'HTTP/1.1 103 Early\r\n\r\n'), LATE],
  [
    'never comes to an end',
    (socket) => socket.write(`${OK}\r\n${'x'.repeat(2 * MAX_BYTES)}`),
    /larger than 1000/,
  ],
  ['breaks off', (socket) => socket.end(`${OK}content-length: 9\r\n\r\nx`), /^upstream_reset: /],
  ['closes', (socket) => socket.end(), /^upstream_reset: /],
  ['resets', (socket) => socket.resetAndDestroy(), /^upstream_reset: /],
  ['speaks no HTTP', (socket) => socket.end('SSH-2.0 x\r\n\r\n'), /^upstream_protocol: /],
  [
    'switches the protocol',
    (socket) => socket.end('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    /^upstream_(?:protocol|reset): /,
  ],
];

describe('a bounded GET', () => {
  for (const [way, ask] of Object.entries(WAYS)) {
    for (const [what, serve, fault] of FAULTS) {
      test(`${way}: a server that ${what}`, async () => {
        expect(await faultOf(ask(asked(await portOf(serve))))).toMatch(fault);
      });
    }

    test(`${way}: nobody there, and a name that is looked up for ever`, async () => {
      const refused = await faultOf(ask(asked(1)));
      expect(refused).toMatch(/^connect_failed refused: connection refused: .*ECONNREFUSED/);
      for (const family of ['resolve4', 'resolve6'] as const) {
        const mute = jest.spyOn(dns.Resolver.prototype, family).mockImplementation((() => {}) as never);
        onTestEnd(() => mute.mockRestore());
      }
      const origin = { scheme: 'http', host: 'hangs.example', port: 80 } as const;
      expect(await faultOf(ask(asked(0, { origin })))).toMatch(/within 300 ms/);
    });

    test(`${way}: the whole of a response, and none once it is given up`, async () => {
      const port = await portOf((socket) => socket.end('HTTP/1.0 302 Found\r\nLocation: /y\r\n\r\nbody'));
      const { status, fields, body } = await ask(asked(port));
      expect([status, fields.length, fields[1], body.toString()]).toStrictEqual([302, 2, '/y', 'body']);
      const stop = new AbortController();
      const waiting = ask(
        asked(await portOf(() => stop.abort(new Error('enough'))), { signal: stop.signal }),
      );
      await expect(waiting).rejects.toThrow(/^enough$/);
      await expect(ask(asked(port, { signal: stop.signal }))).rejects.toThrow(/^enough$/);
    });
  }
});
