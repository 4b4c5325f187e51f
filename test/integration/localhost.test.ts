/** `localhost` is 127.0.0.1 and ::1, for those who call here and for a worker that listens at one of them. */
import http from 'node:http';
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { CONNECT } from '../../sidecar/core/worker/health-ask.ts';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { workerPools } from '../../sidecar/http/upstream-pools.ts';
import { checkWorker } from '../../sidecar/http/worker-check.ts';
import { LIMITS } from '../support/meshes/inbound-side.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { send } from '../support/wire/http-client.ts';

const hasIp6 = await new Promise<boolean>((resolve) => {
  const server = net.createServer().once('error', () => resolve(false));
  server.listen(0, '::1', () => server.close(() => resolve(true)));
});
const missing = hasIp6 ? null : 'needs ::1 on this host';

async function workerAt(host: string): Promise<number> {
  const server = http.createServer((request, response) => response.end(`${host} ${request.headers.host}`));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  return (server.address() as net.AddressInfo).port;
}

async function listening(...addresses: readonly string[]): Promise<HttpListener> {
  const listener = await HttpListener.bind(addresses.map((host) => ({ host, port: 0 })));
  onTestEnd(() => listener.destroy());
  return listener;
}

function connects(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

describe('a port at localhost', () => {
  testUnless(missing)('is taken on both loopbacks, also where the system chooses it', async () => {
    const listener = await listening('localhost');
    const { port } = listener;
    expect(listener.addresses).toStrictEqual([
      { host: '127.0.0.1', port },
      { host: '::1', port },
    ]);
    for (const host of ['127.0.0.1', '::1']) expectNamed(await connects(host, port), host).toBe(true);
    listener.stopAccepting();
    await listener.destroy();
    for (const host of ['127.0.0.1', '::1']) expectNamed(await connects(host, port), host).toBe(false);
  });

  testUnless(missing)('that another program has on one of them is not taken at all', async () => {
    const other = await listening('::1');
    const bind = HttpListener.bind({ host: 'localhost', port: other.port });
    await expect(bind).rejects.toMatchObject({ code: 'EADDRINUSE', address: '::1', port: other.port });
    expectNamed(await connects('127.0.0.1', other.port), 'the first one is free again').toBe(false);
  });

  test('several addresses are taken, each with its port, and one that is missing ends them all', async () => {
    const listener = await listening('127.0.0.1', '127.0.0.2');
    expect(listener.addresses.map(({ host }) => host)).toStrictEqual(['127.0.0.1', '127.0.0.2']);
    const [first] = listener.addresses;
    expect(listener.port).toBe(first?.port);
    const absent = HttpListener.bind([
      { host: '127.0.0.3', port: 0 },
      { host: '203.0.113.7', port: 1 },
    ]);
    await expect(absent).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
  });
});

describe('a sidecar and its worker at localhost', () => {
  testUnless(missing)('apps, operators and the worker meet by either address', async () => {
    const mesh = new TestMesh();
    const four = await workerAt('127.0.0.1');
    const six = await workerAt('::1');
    const member = await mesh.join({
      id: 'box',
      services: {
        four: { url: `http://localhost:${four}`, health: { path: '/' } },
        six: { url: `http://LOCALHOST:${six}`, health: { path: '/' } },
        connected: `http://localhost:${six}`,
      },
      env: { SIDECAR_OUTBOUND: 'localhost:0,127.0.0.2:0', SIDECAR_ADMIN: 'localhost:0' },
    });
    const { admin, outbound } = member.running;
    for (const host of ['127.0.0.1', '::1']) {
      const to = { host, port: outbound.port };
      expect((await send(to, { target: '/service/four/' })).body).toBe(`127.0.0.1 localhost:${four}`);
      expect((await send(to, { target: '/service/six/' })).body).toBe(`::1 localhost:${six}`);
      expect((await send(to, { target: '/service/connected/' })).status).toBe(200);
      expect((await send({ host, port: admin.port }, { target: '/livez' })).status).toBe(200);
    }
    const said = member.log.find(({ message }) => message === 'sidecar listens') as unknown as {
      address: { outbound: string };
    };
    expect(said.address.outbound).toMatch(/^127\.0\.0\.1:\d+, \[::1\]:\d+, 127\.0\.0\.2:\d+$/);
  });

  test('a worker that is at neither is refused, and the reason names what was tried', async () => {
    const upstreams = workerPools({ limits: LIMITS, timers: new CoarseTimers(20), tlsCa: null });
    onTestEnd(() => upstreams.destroy());
    const server = await listening('localhost');
    const { port } = server;
    await server.destroy();
    const origin = { scheme: 'http', host: 'localhost', port } as const;
    const limits = { timeoutMs: 5_000, limitMs: 5_000 };
    for (const ask of [CONNECT, { kind: 'get', path: '/health' } as const]) {
      const { fault } = await checkWorker({ origin, ask, ...limits, upstreams, isFresh: true });
      expect(fault?.kind).toBe('gone');
      expect(fault?.reason).toMatch(/connection refused.*127\.0\.0\.1:\d+/);
    }
  });
});
