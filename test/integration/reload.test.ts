/** A configuration that is read anew while requests run. */
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { reload } from '../../sidecar/commands/reload.ts';
import { formatHostPort } from '../../sidecar/core/host-port.ts';
import { configInput } from '../support/generators/config-input.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { open, send } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

type Services = Record<string, string | Record<string, unknown>>;

async function reloads(member: Member, status = 200): Promise<Record<string, unknown>> {
  const answer = await send(member.running.admin, { method: 'PUT', target: '/reload' });
  expectNamed(answer.status, answer.body).toBe(status);
  return JSON.parse(answer.body) as Record<string, unknown>;
}

describe('a reload', () => {
  test('adds, changes and removes services while a stream goes on, and peers follow', async () => {
    const mesh = new TestMesh();
    let stream: ServerResponse | null = null;
    const one = await startHttpWorker({
      answer: (seen, response) => {
        if (seen.target !== '/stream') return void response.end('one');
        stream = response;
        response.writeHead(200);
        response.write('a');
      },
    });
    const two = await startHttpWorker({ answer: (_, response) => void response.end('two') });
    const services: Services = { llm: one.url };
    const env: Record<string, string> = { SIDECAR_PROBE_FEW_INTERVAL: '200ms' };
    const gpu = await mesh.join({ id: 'gpu', services, env });
    const app = await mesh.join({ id: 'app', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });
    expect((await app.get('llm')).body).toBe('one');
    expect((await app.get('ocr')).status).toBe(503);
    const running = await open(app.running.outbound, { target: '/service/llm/stream' });

    services.ocr = two.url;
    services.llm = { url: two.url, aliases: ['chat'] };
    expect(await reloads(gpu)).toStrictEqual({
      services: { added: ['ocr'], removed: [], changed: ['llm'] },
      applied: ['services'],
      needs_restart: [],
    });
    // Not a single one is refused.
    for (let i = 0; i < 20; i++) {
      expect((await app.get('llm')).body).toBe('two');
      expect((await gpu.get('chat')).body).toBe('two');
    }
    await eventually(
      'the new one is found',
      () => app.get('ocr'),
      ({ body }) => body === 'two',
    );

    delete services.llm;
    expect(await reloads(gpu)).toMatchObject({ services: { added: [], removed: ['llm'], changed: [] } });
    await eventually(
      'the old one is gone',
      () => app.get('llm'),
      ({ status }) => status === 503,
    );
    expect((await gpu.get('chat')).status).toBe(503);
    expect((await app.get('ocr')).body).toBe('two');
    await eventually(
      'its peers know',
      () => app.peers(),
      ([peer]) => String(peer?.services) === 'ocr',
    );

    (stream as ServerResponse | null)?.end('b');
    let text = '';
    for await (const part of running.setEncoding('utf8')) text += part;
    expect(text).toBe('ab');
  });

  test('takes over time limits and the policy, and names what takes a restart each time', async () => {
    const mesh = new TestMesh();
    let isMute = false;
    const worker = await startHttpWorker({
      answer: (_, response) => {
        if (!isMute) response.end('done');
      },
    });
    const env: Record<string, string> = {};
    const gpu = await mesh.join({ id: 'gpu', services: { llm: worker.url }, env });
    expect((await gpu.get('llm')).status).toBe(200);
    isMute = true;
    Object.assign(env, { SIDECAR_TIMEOUT_HEAD: '50ms', SIDECAR_POLICY: 'rank', SIDECAR_CACHE_TTL: '7s' });
    const said = { applied: ['balance.policy', 'timeouts.head'], needs_restart: ['cache.ttl'] };
    const { applied, needs_restart } = await reloads(gpu);
    expect({ applied: (applied as string[]).sort(), needs_restart }).toStrictEqual(said);
    expect((await gpu.get('llm')).status).toBe(504);
    expect(JSON.parse((await gpu.admin('/explain?service=llm')).body)).toMatchObject({ policy: 'rank' });
    expect(await reloads(gpu)).toMatchObject({ applied: [], needs_restart: ['cache.ttl'] });
    expect(gpu.log.some(({ option }) => option === 'cache.ttl')).toBe(true);
  });

  test('of a configuration with mistakes changes nothing, and names them with their place', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const files: Record<string, string> = {};
    const gpu = await mesh.join({ id: 'gpu', services: { llm: worker.url }, files });
    files['/sidecar.json'] = '{\n  "services": {\n    "llm": }';
    expect(await reloads(gpu, 400)).toMatchObject({
      code: 'bad_config',
      problems: [expect.stringMatching(/line 3, column/)],
    });
    files['/sidecar.json'] = JSON.stringify({ services: { llm: 'http://nowhere:1', LLM: 'x' }, polcy: 1 });
    const { problems } = await reloads(gpu, 400);
    expect(problems).toHaveLength(2);
    expect((await gpu.get('llm')).status).toBe(200);
    expect((await send(gpu.running.admin, { target: '/reload' })).status).toBe(405);
    const headers = { origin: 'http://localhost:3000' };
    expect((await send(gpu.running.admin, { method: 'PUT', target: '/reload', headers })).status).toBe(403);
  });

  test('by command says what it did', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const services: Services = { llm: worker.url };
    const gpu = await mesh.join({ id: 'gpu', services });
    let said = '';
    const say = (text: string): void => {
      said += text;
    };
    const run = async (): Promise<number> => {
      said = '';
      return await reload.run({
        ...configInput({
          args: ['--admin', formatHostPort(gpu.running.admin)],
          env: { SIDECAR_CONFIG: 'none.yaml' },
        }),
        version: '0',
        out: say,
        err: say,
        isTerminal: false,
        nowMs: () => 0,
        stopSignal: () => new AbortController().signal,
        stopSignals: () => {
          throw new Error('not asked for');
        },
      });
    };
    expect(await run()).toBe(0);
    expect(said).toBe('Nothing has changed.\n');
    services.ocr = worker.url;
    expect(await run()).toBe(0);
    expect(said).toBe('services added: ocr\ntaken over: services\n');
    services.ocr = 'ftp://x';
    expect(await run()).toBe(64);
    expect(said).toMatch(/nothing is changed/);
  });
});
