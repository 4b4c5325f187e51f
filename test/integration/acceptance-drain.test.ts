/** Draining, as on SIGTERM: what runs is finished, what is new goes elsewhere, and nobody finds the worker any more. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { open } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const NEVER = new AbortController().signal;

describe('a worker that drains', () => {
  test('a stream goes on to its end while new requests go elsewhere', async () => {
    const mesh = new TestMesh();
    let stream: ServerResponse | null = null;
    const first = await startHttpWorker({
      answer: (seen, response) => {
        if (seen.target !== '/stream') return void response.end('done');
        stream = response;
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: 1\n\n');
      },
    });
    const second = await startHttpWorker();
    const leaving = await mesh.join({
      id: 'worker-leaving',
      services: { 'llm-inference': first.url },
      env: { SIDECAR_DRAIN_ACCEPT: '500ms' },
    });
    const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms' } });
    const message = await open(cpu.running.outbound, { target: '/service/llm-inference/stream' });
    expect(message.statusCode).toBe(200);
    expect(message.headers['sidecar-worker']).toBe('worker-leaving');
    let received = '';
    message.setEncoding('utf8').on('data', (text: string) => {
      received += text;
    });
    await eventually(
      'the first event is here',
      () => received,
      (text) => text === 'data: 1\n\n',
    );
    await mesh.join({
      id: 'worker-staying',
      services: { 'llm-inference': second.url, 'vision-ocr': second.url },
    });
    await eventually(
      'both are used',
      async () => [await cpu.get('llm-inference'), second.seen.length] as const,
      ([, seen]) => seen > 0,
    );

    let isDrained = false;
    const drained = leaving.running.drain(NEVER).then(() => {
      isDrained = true;
    });
    // Requests go on all the while; each is served by somebody.
    const answers = await eventually(
      'twenty in a row elsewhere',
      async () => {
        const workers = new Set<unknown>();
        for (let i = 0; i < 20; i++) {
          const answer = await cpu.get('llm-inference');
          expectNamed(answer.status, answer.body).toBe(200);
          workers.add(answer.headers['sidecar-worker']);
        }
        return workers;
      },
      (workers) => !workers.has('worker-leaving'),
    );
    expect([...answers]).toStrictEqual(['worker-staying']);

    // Its own app is still served, by others.
    const own = await leaving.get('vision-ocr');
    expectNamed(own.status, own.body).toBe(200);
    expect(own.headers['sidecar-worker']).toBe('worker-staying');
    const ready = await leaving.admin('/readyz');
    expect(ready.status).toBe(503);
    expect(ready.body).toMatch(/"draining"/);

    // Who looks now finds one worker to send to; one that is met in the middle of leaving reads as draining.
    const late = await mesh.join({ id: 'worker-late' });
    await eventually(
      'the newcomer is served',
      () => late.get('llm-inference'),
      ({ status }) => status === 200,
    );
    const offering = (await late.peers()).filter(
      ({ services, state }) => services.includes('llm-inference') && state !== 'draining',
    );
    expect(offering.map(({ worker_id }) => worker_id)).toStrictEqual(['worker-staying']);

    expectNamed(isDrained, 'the stream is waited for').toBe(false);
    mustHold(stream);
    (stream as ServerResponse).end('data: 2\n\n');
    await once(message, 'end');
    expect(received).toBe('data: 1\n\ndata: 2\n\n');
    expect(message.complete).toBe(true);
    await drained;
    expect((await cpu.stats()).failed_requests).toBe(0);
  });

  test('where all is stopped at once, apps that are still at work are served until they are done', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    await mesh.join({ id: 'worker', services: { 'llm-inference': worker.url } });
    const app = await mesh.join({
      id: 'app',
      env: { SIDECAR_DRAIN_ACCEPT: '0s', SIDECAR_DRAIN_QUIET: '2s' },
    });
    expect((await app.get('llm-inference')).status).toBe(200);
    let isDrained = false;
    const drained = app.running.drain(NEVER).then(() => {
      isDrained = true;
    });
    const untilMs = performance.now() + 3_000;
    while (performance.now() < untilMs) {
      const { status, body } = await app.get('llm-inference');
      expectNamed(status, body).toBe(200);
      expect(isDrained).toBe(false);
    }
    await drained;
    await expect(app.get('llm-inference')).rejects.toThrow(/ECONNREFUSED/);
  });

  test('an app that never ends is served no longer than drain.wait', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const box = await mesh.join({
      id: 'box',
      services: { 'llm-inference': worker.url },
      env: { SIDECAR_DRAIN_ACCEPT: '0s', SIDECAR_DRAIN_QUIET: '1m', SIDECAR_DRAIN_WAIT: '1s' },
    });
    expect((await box.get('llm-inference')).status).toBe(200);
    await box.running.drain(NEVER);
    await expect(box.get('llm-inference')).rejects.toThrow(/ECONNREFUSED/);
  });

  test('a second signal cuts off what runs, and the client can tell', async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker({ answer: (_, response) => void response.write('begun') });
    const leaving = await mesh.join({
      id: 'worker-leaving',
      services: { 'llm-inference': worker.url },
      env: { SIDECAR_DRAIN_ACCEPT: '0s' },
    });
    const cpu = await mesh.join({ id: 'worker-cpu-001' });
    const message = await open(cpu.running.outbound, { target: '/service/llm-inference/stream' });
    const broken = once(message, 'error');
    message.resume();
    const force = new AbortController();
    const drained = leaving.running.drain(force.signal);
    force.abort();
    await drained;
    await leaving.running.stop();
    const [error] = (await broken) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNRESET');
    expectNamed(message.complete, 'never a clean end').toBe(false);
  });
});
