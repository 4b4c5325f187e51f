/** Kept connections: used again when that is safe, and never by somebody whose request is over. */
import { describe, expect, test } from '@jest/globals';
import type {
  OutgoingHead,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
} from '../../sidecar/http/exchange.ts';
import { Http1Pool } from '../../sidecar/http/http1/pool.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { LIMITS, TIMEOUTS } from '../support/meshes/inbound-side.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { request } from '../support/wire/wire-messages.ts';
import { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

function head(method = 'GET', body: OutgoingHead['body'] = { kind: 'none' }): OutgoingHead {
  return { method, target: '/', host: 'a', fields: [], body, upgrade: null };
}

class Recorder implements UpstreamHandler {
  body = '';
  readonly over = new Arrivals<UpstreamFault | 'end'>('the end of a request');
  onSent(): void {}
  onInformational(): void {}
  onHead(): void {}
  onData(chunk: Buffer): boolean {
    this.body += chunk.toString();
    return false;
  }
  onEnd(): void {
    this.over.push('end');
  }
  onUpgrade(): void {}
  onUpstreamDrain(): void {}
  onFault(fault: UpstreamFault): void {
    this.over.push(fault);
  }
}

interface Setup {
  readonly pool: Http1Pool;
  readonly origin: ScriptedOrigin;
  send(head: OutgoingHead, isFresh?: boolean): { handle: UpstreamRequest; seen: Recorder };
}

async function setup({ keepIdleMs = 30_000, reuseUnsafeMs = 30_000 } = {}): Promise<Setup> {
  const origin = await ScriptedOrigin.start();
  const pool = new Http1Pool({
    limits: LIMITS,
    timers: new CoarseTimers(20),
    keepIdleMs,
    connectAttempts: 1,
    reuseUnsafeMs,
    tlsCa: null,
  });
  onTestEnd(async () => {
    pool.destroy();
    await origin.close();
  });
  return {
    pool,
    origin,
    send(outgoing, isFresh) {
      const seen = new Recorder();
      const where = { scheme: 'http', host: '127.0.0.1', port: origin.port } as const;
      return { seen, handle: pool.request(where, outgoing, TIMEOUTS, seen, isFresh) };
    },
  };
}

describe('the pool of connections to workers', () => {
  test('a handle whose request is over touches nobody else’s', async () => {
    const { origin, send } = await setup();
    const first = send(head());
    const worker = await origin.connection();
    await request(worker);
    worker.send(OK);
    await first.seen.over.next();
    const second = send(head('POST', { kind: 'chunked' }));
    first.handle.pause();
    first.handle.write(Buffer.from('smuggled'));
    first.handle.end([]);
    first.handle.abort();
    second.handle.write(Buffer.from('hi'));
    second.handle.end([]);
    expect((await request(worker)).body).toBe('hi');
    worker.send(OK);
    expect(await second.seen.over.next()).toBe('end');
    expect(second.seen.body).toBe('ok');
    expect(origin.connections).toHaveLength(1);
  });

  test('a method that must not be repeated takes no connection that has been idle for long; others do', async () => {
    const { origin, send, pool } = await setup({ reuseUnsafeMs: 0 });
    const first = send(head());
    const worker = await origin.connection();
    await request(worker);
    worker.send(OK);
    await first.seen.over.next();
    send(head('POST', { kind: 'length', bytes: 0 }));
    const other = await origin.connection();
    expect((await request(other)).head.method).toBe('POST');
    send(head());
    expect((await request(worker)).head.method).toBe('GET');
    expect(pool.openConnections).toBe(2);
  });

  test('a fresh connection is made when one is asked for', async () => {
    const { origin, send } = await setup();
    const first = send(head());
    const worker = await origin.connection();
    await request(worker);
    worker.send(OK);
    await first.seen.over.next();
    send(head(), true);
    expect(await origin.connection()).not.toBe(worker);
  });

  test('only a kept connection that broke before a byte is called stale', async () => {
    const { origin, send } = await setup();
    const fresh = send(head());
    const unused = await origin.connection();
    await request(unused);
    unused.reset();
    const fault = await fresh.seen.over.next();
    mustHold(fault !== 'end' && fault.code === 'upstream_reset' && fault.wasStale !== true);
    for (const [bytes, wasStale] of [
      ['', true],
      ['HTTP/1.1 2', false],
      ['HTTP/1.1 103 Hint\r\n\r\n', false],
    ] as const) {
      const first = send(head(), true);
      const worker = await origin.connection();
      await request(worker);
      worker.send(OK);
      await first.seen.over.next();
      const second = send(head());
      await request(worker);
      worker.send(bytes);
      if (bytes === '') worker.reset();
      else worker.finish();
      const broken = await second.seen.over.next();
      mustHold(broken !== 'end' && broken.wasStale === wasStale, bytes);
    }
  });

  for (const [framing, whole] of [
    ['with a length', OK],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'],
    ['in chunks, with trailers', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n`],
    ['without a body', 'HTTP/1.1 204 Nothing\r\n\r\n'],
  ] as const) {
    test(`bytes behind a response ${framing} are nobody's: the connection is not used again`, async () => {
      const { origin, send, pool } = await setup();
      const { seen } = send(head());
      const worker = await origin.connection();
      await request(worker);
      worker.send(`${whole}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`);
      expect(await seen.over.next()).toBe('end');
      expect(seen.body).not.toContain('evil');
      const { seen: next } = send(head());
      const other = await origin.connection();
      await request(other);
      other.send(OK);
      expect(await next.over.next()).toBe('end');
      expect(next.body).toBe('ok');
      await worker.ended();
      expect(pool.openConnections).toBe(1);
    });
  }

  test('a connection that nobody uses for long is closed', async () => {
    const { origin, send, pool } = await setup({ keepIdleMs: 50 });
    const first = send(head());
    const worker = await origin.connection();
    await request(worker);
    worker.send(OK);
    await first.seen.over.next();
    expect(pool.openConnections).toBe(1);
    await worker.ended();
    await eventually(
      'the pool knows',
      () => pool.openConnections,
      (open) => open === 0,
    );
  });

  test('the end of the pool gives up the connections that are being made', async () => {
    const silent = await ScriptedOrigin.start();
    onTestEnd(() => silent.close());
    const { pool } = await setup();
    const seen = new Recorder();
    pool.request({ scheme: 'https', host: '127.0.0.1', port: silent.port }, head(), TIMEOUTS, seen);
    const dialled = await silent.connection();
    pool.destroy();
    await dialled.ended();
    expect(seen.over.size).toBe(0);
  });

  test('a body that is longer than announced is a fault of the caller', async () => {
    const { origin, send } = await setup();
    const { handle } = send(head('POST', { kind: 'length', bytes: 2 }));
    const worker = await origin.connection();
    expect(() => handle.write(Buffer.from('hello'))).toThrow(/more body/);
    handle.abort();
    await worker.ended();
  });
});
