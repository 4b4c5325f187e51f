/** Workers that are reached by TLS or by a Unix socket, from the health check to the answer. */
import { mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from '@jest/globals';
import { createCa, type Issued } from '../support/edges/x509.ts';
import { type Member, type MemberOptions, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const CA = createCa();

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'worker-'));
  onTestEnd(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function file(dir: string, name: string, content: string): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
}

interface ServiceLoad {
  readonly service: string;
  readonly by_source: Readonly<Record<string, number | null>>;
}

/** Says what it was asked, by which name and with whose certificate. */
const echo: http.RequestListener = (request, response) => {
  const { servername, getPeerCertificate } = request.socket as Partial<TLSSocket>;
  const client = getPeerCertificate?.call(request.socket)?.subject?.CN ?? null;
  response.setHeader('x-seen', JSON.stringify({ sni: servername ?? null, client }));
  if (request.url?.startsWith('/base/go') || request.url === '/go')
    response.writeHead(302, { Location: `https://${request.headers.host}${request.url}ne` });
  response.end(`${request.method} ${request.url} ${request.headers.host}`);
};

async function listen(server: Server, at: string | number): Promise<number> {
  server.on('upgrade', (_request, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.on('error', () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) =>
    typeof at === 'number' ? server.listen(at, '127.0.0.1', resolve) : server.listen(at, resolve),
  );
  onTestEnd(() => {
    server.close();
    (server as http.Server).closeAllConnections();
  });
  return (server.address() as AddressInfo | null)?.port ?? 0;
}

function secure(identity: Issued, options: https.ServerOptions = {}): https.Server {
  return https.createServer({ ...identity, ...options }, echo);
}

async function box(services: MemberOptions['services'], paths: readonly string[] = []): Promise<Member> {
  const files = Object.fromEntries(paths.map((path) => [path, readFileSync(path, 'utf8')]));
  return new TestMesh().start({ id: 'box', services: services ?? {}, files });
}

function isReady(member: Member, service: string): Promise<unknown> {
  return eventually(
    `${service} is ready`,
    () => member.log,
    (log) => log.some((line) => line.message === 'the worker is ready' && line.service === service),
  );
}

/** An upgrade whose other side says everything again. */
function echoed(member: Member, service: string, said: string): Promise<string> {
  const { host, port } = member.running.outbound;
  return new Promise((resolve, reject) => {
    const request = http.request({
      host,
      port,
      path: `/service/${service}/ws`,
      agent: false,
      headers: { Connection: 'Upgrade', Upgrade: 'echo' },
    });
    request.on('error', reject);
    request.on('response', ({ statusCode }) => reject(new Error(`status ${statusCode}`)));
    request.on('upgrade', (_response, socket) => {
      socket.on('data', (chunk) => {
        resolve(String(chunk));
        socket.destroy();
      });
      socket.write(said);
    });
    request.end();
  });
}

describe('a worker of https://', () => {
  test('is checked, called and upgraded by its own CA, and its redirects lead back to the app', async () => {
    const dir = folder();
    const ca = file(dir, 'ca.pem', CA.cert);
    const port = await listen(secure(CA.issue('127.0.0.1', 'localhost')), 0);
    const member = await box(
      {
        plain: { url: `https://127.0.0.1:${port}/base`, tls: { ca } },
        asked: { url: `https://localhost:${port}`, tls: { ca }, health: { path: '/health' } },
      },
      [ca],
    );
    await isReady(member, 'plain');
    await isReady(member, 'asked');
    const answer = await member.get('plain', '/x?y');
    expect([answer.status, answer.body]).toStrictEqual([200, `GET /base/x?y 127.0.0.1:${port}`]);
    expect(JSON.parse(String((await member.get('asked')).headers['x-seen'])).sni).toBe('localhost');
    expect((await member.get('plain', '/go')).headers.location).toBe('/service/plain/gone');
    expect(await echoed(member, 'asked', 'hello')).toBe('hello');
  });

  const bad = {
    'has expired': [CA.issueExpired('127.0.0.1'), true, /has expired/],
    'is for another name': [CA.issue('elsewhere.example'), true, /is for another name/],
    'is signed by nobody who is trusted': [createCa().issue('127.0.0.1'), true, /not signed by a CA/],
    'is not under the CAs of the system': [CA.issue('127.0.0.1'), false, /not signed by a CA/],
  } as const;
  for (const [why, [identity, hasCa, reason]] of Object.entries(bad)) {
    test(`whose certificate ${why} gets nothing, and app and log are told why`, async () => {
      const ca = file(folder(), 'ca.pem', CA.cert);
      const port = await listen(secure(identity), 0);
      const tls = hasCa ? { ca } : {};
      const member = await box(
        {
          llm: { url: `https://127.0.0.1:${port}`, tls, health: { interval: '50ms' } },
          asked: { url: `https://127.0.0.1:${port}/`, tls, health: { path: '/h', interval: '50ms' } },
        },
        [ca],
      );
      for (const service of ['llm', 'asked']) {
        const answer = await eventually(
          'it was asked',
          () => member.get(service),
          ({ body }) => reason.test(body),
        );
        expect(answer.status).toBe(502);
        expect(answer.headers['proxy-status']).toMatch(/error=tls_certificate_error/);
        expect(JSON.parse(answer.body).code).toBe('certificate_untrusted');
      }
      const said = member.log.filter(({ message }) => message.includes('is not good here'));
      expect(said.map(({ level }) => level)).toStrictEqual(['error', 'error']);
      for (const { reason: why } of said) expect(why).toMatch(reason);
    });

    test(`whose certificate ${why} is taken where it is insecure, which is said loudly`, async () => {
      const port = await listen(secure(identity), 0);
      const member = await box({ llm: { url: `https://127.0.0.1:${port}`, tls: { insecure: true } } });
      await isReady(member, 'llm');
      expect((await member.get('llm')).status).toBe(200);
      expect(member.log.filter(({ level }) => level === 'warn').map(({ message }) => message)).toContainEqual(
        expect.stringMatching(/tls\.insecure.*NOT checked/),
      );
    });
  }

  test('has its page of metrics read by the same CA, which is good for no page on another host', async () => {
    const ca = file(folder(), 'ca.pem', CA.cert);
    const server = https.createServer(CA.issue('127.0.0.1', 'localhost'), (_request, response) =>
      response.end('vllm:num_requests_running{engine="0"} 2\n'),
    );
    const port = await listen(server, 0);
    const service = (host: string) => ({
      url: `https://127.0.0.1:${port}`,
      tls: { ca },
      concurrency: 4,
      load: { source: 'worker', metricsUrl: `https://${host}:${port}/metrics`, interval: '100ms' },
    });
    const member = await box({ llm: service('127.0.0.1'), other: service('localhost') }, [ca]);
    await eventually(
      'both pages were asked for',
      async () => {
        const { services } = JSON.parse((await member.admin('/load')).body) as { services: ServiceLoad[] };
        const failed = member.log.filter(({ message }) => message.startsWith('load source failed'));
        const loads = services.map((each) => [each.service, each.by_source.metrics]);
        return JSON.stringify([loads, failed.map((line) => line.service)]);
      },
      (seen) => seen === '[[["llm",0.5],["other",null]],["other"]]',
    );
  });

  test('that wants a certificate of ours is shown it, by the name that is given', async () => {
    const dir = folder();
    const own = CA.issue('sidecar.example');
    const [ca, cert, key] = [
      file(dir, 'ca.pem', CA.cert),
      file(dir, 'own.pem', own.cert),
      file(dir, 'own.key', own.key),
    ];
    const server = secure(CA.issue('llm.internal'), { ca: CA.cert, requestCert: true });
    const port = await listen(server, 0);
    const tls = { ca, cert, key, name: 'llm.internal' };
    const member = await box({ llm: { url: `https://127.0.0.1:${port}`, tls } }, [ca, cert, key]);
    await isReady(member, 'llm');
    const seen = JSON.parse(String((await member.get('llm')).headers['x-seen']));
    expect(seen).toStrictEqual({ sni: 'llm.internal', client: 'sidecar.example' });
  });

  test('that has a new certificate of a new CA is reached when the file of the CA has changed', async () => {
    const dir = folder();
    const ca = file(dir, 'ca.pem', CA.cert);
    const server = secure(CA.issue('127.0.0.1'));
    const port = await listen(server, 0);
    const health = { interval: '100ms' };
    const member = await box({ llm: { url: `https://127.0.0.1:${port}`, tls: { ca }, health } }, [ca]);
    await isReady(member, 'llm');
    const next = createCa();
    server.setSecureContext(next.issue('127.0.0.1'));
    server.closeAllConnections();
    await eventually(
      'nobody trusts it',
      () => member.get('llm'),
      ({ status }) => status === 502,
    );
    writeFileSync(ca, 'half a fi');
    await eventually(
      'the broken file is told of',
      () => member.log,
      (log) => log.some(({ message }) => message.includes('cannot be used: the last ones stay')),
    );
    writeFileSync(ca, next.cert);
    await eventually(
      'it is back',
      () => member.get('llm'),
      ({ status }) => status === 200,
    );
  });

  test('that speaks no TLS is told apart from one that is not there', async () => {
    const port = await listen(http.createServer(echo), 0);
    const member = await box({ llm: { url: `https://127.0.0.1:${port}`, health: { interval: '50ms' } } });
    const answer = await eventually(
      'it was asked',
      () => member.get('llm'),
      ({ body }) => body.includes('TLS'),
    );
    expect(answer.body).toMatch(/does not speak TLS there/);
  });
});

describe('a worker at a Unix socket', () => {
  const forms = {
    'unix:PATH': (path: string) => [`unix:${path}`, '/x', 'localhost'],
    'unix://PATH': (path: string) => [`unix://${path}`, '/x', 'localhost'],
    'unix:PATH:/base': (path: string) => [`unix:${path}:/api/v2/`, '/api/v2/x', 'localhost'],
    'unix:PATH:host/base': (path: string) => [`unix:${path}:llm.local:81/v1`, '/v1/x', 'llm.local:81'],
    'http+unix://ENCODED/base': (path: string) => [
      `http+unix://${encodeURIComponent(path)}/v1`,
      '/v1/x',
      'localhost',
    ],
  } as const;
  for (const [form, of] of Object.entries(forms)) {
    test(`as ${form} is checked, called and upgraded`, async () => {
      const path = join(folder(), 'w.sock');
      await listen(http.createServer(echo), path);
      const [url = '', target, host] = of(path);
      const member = await new TestMesh().start({ id: 'box', env: { SIDECAR_SERVICES: `llm=${url}` } });
      await isReady(member, 'llm');
      const answer = await member.get('llm', '/x');
      expect([answer.status, answer.body]).toStrictEqual([200, `GET ${target} ${host}`]);
      expect(await echoed(member, 'llm', 'hello')).toBe('hello');
    });
  }

  test('with a health path, and a Host of its own, is asked there', async () => {
    const path = join(folder(), 'w.sock');
    await listen(http.createServer(echo), path);
    const member = await box({
      llm: { url: `unix:${path}`, host: 'named.example', health: { path: '/health' } },
    });
    await isReady(member, 'llm');
    expect((await member.get('llm')).body).toBe('GET / named.example');
  });

  const lacks: Readonly<Record<string, readonly [(path: string) => void, RegExp]>> = {
    'that is not there': [() => {}, /there is no such socket/],
    'that is a file': [(path) => writeFileSync(path, ''), /is no socket/],
  };
  for (const [what, [make, reason]] of Object.entries(lacks)) {
    test(`${what} is waited for, with the reason, and used once it is`, async () => {
      const path = join(folder(), 'w.sock');
      make(path);
      const member = await box({ llm: { url: `unix:${path}`, health: { path: '/h', interval: '50ms' } } });
      const answer = await eventually(
        'it was asked',
        () => member.get('llm'),
        ({ body }) => reason.test(body),
      );
      expect(answer.status).toBe(503);
      expect(JSON.parse(answer.body).code).toBe('warming');
      if (what === 'that is a file') unlinkSync(path);
      await listen(http.createServer(echo), path);
      await isReady(member, 'llm');
      expect((await member.get('llm')).status).toBe(200);
    });
  }

  test('whose program has ended is withdrawn at once, and used when it is back', async () => {
    const path = join(folder(), 'w.sock');
    const server = http.createServer(echo);
    await listen(server, path);
    const member = await box({ llm: { url: `unix:${path}` } });
    await isReady(member, 'llm');
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const answer = await eventually(
      'it is gone',
      () => member.get('llm'),
      ({ status }) => status !== 200,
    );
    expectNamed(answer.body, 'says why').toMatch(/no such socket/);
    await listen(http.createServer(echo), path);
    await eventually(
      'it is back',
      () => member.get('llm'),
      ({ status }) => status === 200,
    );
  });
});
