/** A worker that its owner takes out for a while: what runs ends, what is new goes elsewhere, and everybody is told why. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { pause, resume } from '../../sidecar/commands/pause.ts';
import { formatHostPort } from '../../sidecar/core/host-port.ts';
import { configInput } from '../support/generators/config-input.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { open, send } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const QUICK = { SIDECAR_PROBE_FEW_INTERVAL: '200ms' };

function put(member: Member, target: string, body = '', method = 'PUT') {
  return send(member.running.admin, { method, target, ...(body === '' ? {} : { body }) });
}

async function workersOf(caller: Member, service: string): Promise<string[]> {
  const found = new Set<string>();
  for (let i = 0; i < 12; i++) {
    const { status, body, headers } = await caller.get(service);
    expectNamed(status, body).toBe(200);
    found.add(String(headers['sidecar-worker']));
  }
  return [...found].sort();
}

async function bed() {
  const mesh = new TestMesh();
  const [one, two] = [await startHttpWorker(), await startHttpWorker()];
  const gpu = await mesh.join({ id: 'gpu', services: { llm: one.url, ocr: one.url }, env: QUICK });
  const other = await mesh.join({ id: 'other', services: { llm: two.url }, env: QUICK });
  // By turns, so that who is a candidate shows.
  const app = await mesh.join({ id: 'app', env: { ...QUICK, SIDECAR_POLICY: 'round-robin' } });
  await app.knows(['gpu', 'other']);
  return { mesh, one, two, gpu, other, app };
}

describe('a paused service', () => {
  test('is asked by nobody, its own box included, is said to be paused, and comes back', async () => {
    const { one, gpu, app } = await bed();
    await eventually(
      'both serve',
      () => workersOf(app, 'llm'),
      (found) => found.length === 2,
    );
    expect(await workersOf(gpu, 'llm')).toStrictEqual(['gpu']);

    const paused = await put(gpu, '/pause');
    expectNamed(paused.status, paused.body).toBe(200);
    expect(JSON.parse(paused.body)).toMatchObject({
      services: [{ service: 'llm', paused: true, running: 0 }, { paused: true }],
      not_kept: 'there is no state directory (state.dir)',
    });
    const seen = one.seen.length;
    expect(await workersOf(app, 'llm')).toStrictEqual(['other']);
    expect(await workersOf(gpu, 'llm')).toStrictEqual(['other']);
    expect(one.seen.length).toBe(seen);

    const refusal = await eventually(
      'its peers know',
      () => app.get('ocr'),
      ({ body }) => /"paused"/.test(body),
    );
    expect(refusal.status).toBe(503);
    expect(refusal.headers['retry-after']).toBe('30');
    expect(JSON.parse(refusal.body)).toMatchObject({ code: 'paused' });
    await eventually(
      'explain says so',
      async () => (await app.admin('/explain?service=llm')).body,
      (body) => /"why_not":"paused"/.test(body),
    );
    const own = await gpu.get('ocr');
    expect(JSON.parse(own.body)).toMatchObject({ attempts: [{ peer: 'gpu', code: 'paused' }] });
    expect(JSON.parse((await gpu.admin('/explain?service=llm')).body)).toMatchObject({
      local: { paused: true },
    });
    expect((await gpu.admin('/readyz')).status).toBe(200);

    expect((await put(gpu, '/resume')).status).toBe(200);
    expect(await workersOf(gpu, 'llm')).toStrictEqual(['gpu']);
    await eventually(
      'both serve again',
      () => workersOf(app, 'llm'),
      (found) => found.length === 2,
    );
    expect((await app.get('ocr')).status).toBe(200);
  });

  test('finishes what runs, and what waits for a slot goes elsewhere', async () => {
    const mesh = new TestMesh();
    let running: ServerResponse | null = null;
    const slow = await startHttpWorker({
      answer: (_, response) => {
        running = response;
        response.writeHead(200);
        response.write('a');
      },
    });
    const quick = await startHttpWorker();
    const gpu = await mesh.join({
      id: 'gpu',
      services: { llm: { url: slow.url, concurrency: 1 } },
      env: QUICK,
    });
    const first = await open(gpu.running.outbound, { target: '/service/llm/' });
    const waiting = gpu.get('llm');
    await eventually(
      'the second one waits',
      async () => (await gpu.admin('/metrics')).body,
      (text) => /^sidecar_worker_queued\{[^}]*llm[^}]*\} 1$/m.test(text),
    );
    const other = await mesh.join({ id: 'other', services: { llm: quick.url }, env: QUICK });
    await gpu.knows(['other']);
    expect(JSON.parse((await put(gpu, '/pause?service=llm')).body)).toMatchObject({
      services: [{ running: 1 }],
    });
    expect((await waiting).headers['sidecar-worker']).toBe('other');
    (running as ServerResponse | null)?.end('b');
    let text = '';
    for await (const part of first.setEncoding('utf8')) text += part;
    expect(text).toBe('ab');
    await other.running.stop();
  });

  test('alone is paused: the other services of its worker are served', async () => {
    const { gpu, app } = await bed();
    expect((await put(gpu, '/pause', '{"service":"ocr"}')).status).toBe(200);
    expect(await workersOf(gpu, 'llm')).toStrictEqual(['gpu']);
    await eventually(
      'paused',
      () => app.get('ocr'),
      ({ body }) => /"code":"paused"/.test(body),
    );
    expect((await put(gpu, '/pause?service=ocr', '', 'DELETE')).status).toBe(200);
    await eventually(
      'back',
      () => app.get('ocr'),
      ({ status }) => status === 200,
    );
  });

  test('stays so after a restart, and a damaged file pauses nothing', async () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'paused-'));
    onTestEnd(() => rmSync(stateDir, { recursive: true, force: true }));
    const worker = await startHttpWorker();
    const start = () =>
      new TestMesh().join({ id: 'gpu', services: { llm: worker.url }, env: { SIDECAR_STATE_DIR: stateDir } });
    const first = await start();
    expect(JSON.parse((await put(first, '/pause')).body)).toStrictEqual({
      services: [{ service: 'llm', paused: true, running: 0 }],
    });
    await first.running.stop();
    const second = await start();
    expect(JSON.parse((await second.get('llm')).body)).toMatchObject({ attempts: [{ code: 'paused' }] });
    await second.running.stop();
    for (const damage of ['{', '[1]', '{}', '\u0000']) {
      writeFileSync(join(stateDir, 'paused.json'), damage);
      const third = await start();
      expect((await third.get('llm')).status).toBe(200);
      expect(third.log.some(({ message }) => message.startsWith('which services were paused'))).toBe(true);
      await third.running.stop();
    }
  });

  test.each([
    ['PUT', '/pause?service=none', '', 404],
    ['PUT', '/pause', '{"service":1}', 400],
    ['PUT', '/pause', '[]', 400],
    ['PUT', '/pause', '{', 400],
    ['PUT', '/resume', '{"services":"llm"}', 400],
    ['PUT', '/pause?service=ocr', '{"service":"llm"}', 400],
    ['PUT', '/pause', `{"service":"${'x'.repeat(5_000)}"}`, 413],
    ['POST', '/pause', '', 405],
    ['GET', '/resume', '', 405],
  ])('%s %s with %j changes nothing', async (method, target, body, status) => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const gpu = await mesh.join({ id: 'gpu', services: { llm: worker.url } });
    expect((await put(gpu, target, body, method)).status).toBe(status);
    const page = await send(gpu.running.admin, {
      method: 'PUT',
      target: '/pause',
      headers: { origin: 'http://localhost:3000' },
    });
    expect(page.status).toBe(403);
    expect(JSON.parse((await gpu.admin('/pause')).body)).toMatchObject({ services: [{ paused: false }] });
  });

  test('is paused and resumed by command', async () => {
    const { gpu } = await bed();
    let said = '';
    const context = (args: string[]) => ({
      ...configInput({ args: ['--admin', formatHostPort(gpu.running.admin), ...args] }),
      version: '0',
      out: (text: string) => {
        said += text;
      },
      err: (text: string) => {
        said += text;
      },
      isTerminal: false,
      nowMs: () => 0,
      stopSignal: () => new AbortController().signal,
      stopSignals: () => {
        throw new Error('not asked for');
      },
    });
    expect(await pause.run(context(['llm']))).toBe(0);
    expect(said).toMatch(/^llm: paused\nocr: takes requests\nA restart forgets this/);
    said = '';
    expect(await resume.run(context([]))).toBe(0);
    expect(said).toBe('llm: takes requests\nocr: takes requests\n');
    said = '';
    expect(await pause.run(context(['none']))).toBe(1);
    expect(said).toMatch(/offers no such service/);
  });
});
