/**
 * Live load through whole sidecars: the state on each response and in the record, streams that count for their whole
 * life, a stale view that is put right before the worker sees the request, affinity, and the reasons of a choice.
 */
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';
import { type HttpWorker, startHttpWorker } from '../support/workers/http-worker.ts';

/** Probes would tell what answers are to tell. */
const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m', SIDECAR_PROBE_MANY_INTERVAL: '10m' };

interface Candidate {
  readonly worker_id: string;
  readonly why_not: string | null;
  readonly reported: {
    readonly age_ms: number | null;
    readonly source: string;
    readonly load: number;
    readonly in_flight: number;
    readonly queued: number;
  };
  readonly score: Readonly<Record<string, number | boolean>> | null;
}

interface Decision {
  readonly chosen: string | null;
  readonly chosenNext: Readonly<Record<string, unknown>> | null;
  readonly candidates: readonly Candidate[];
}

async function explained(member: Member): Promise<Decision> {
  return JSON.parse((await member.admin('/explain?service=infer')).body) as Decision;
}

async function reportOf(member: Member, id: string): Promise<Candidate['reported']> {
  const { candidates } = await explained(member);
  return candidates.find(({ worker_id }) => worker_id === id)?.reported ?? fail(`${id} is not there`);
}

/** A worker that holds what is asked for `/held` until the test lets it go, its first byte sent. */
async function holdingWorker(): Promise<HttpWorker & { readonly held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const worker = await startHttpWorker({
    answer: ({ target }, response) => {
      if (target !== '/held') response.end('ok');
      else {
        response.write('begun');
        held.push(response);
      }
    },
  });
  return Object.assign(worker, { held });
}

describe('live load through whole sidecars', () => {
  test('a stream counts until its end, and each response and the record tell of it', async () => {
    const mesh = new TestMesh();
    const worker = await holdingWorker();
    // The requests alone: the processor of a busy machine is a load of its own.
    const infer = { url: worker.url, concurrency: 4, load: { source: 'in-flight' } };
    const a = await mesh.join({ id: 'a', services: { infer } });
    const b = await mesh.join({ id: 'b', env: NO_PROBES });
    await b.get('infer');
    const streams = [b.get('infer', '/held'), b.get('infer', '/held')];
    await eventually(
      'both streams have begun',
      () => worker.held.length,
      (count) => count === 2,
    );
    // Where a response is slow to come, the path is probed meanwhile, and that may be the last word.
    const { in_flight, load } = await eventually(
      'the last word is a response',
      async () => {
        const answer = await b.get('infer');
        expectNamed(answer.headers['endpoint-load-metrics'], 'the app sees none of it').toBe(undefined);
        return await reportOf(b, 'a');
      },
      ({ source }) => source === 'response',
    );
    // The two streams and the one that the response was for.
    expect([in_flight, load]).toStrictEqual([3, 0.75]);

    const newcomer = await mesh.join({ id: 'c', env: NO_PROBES });
    await newcomer.knows(['a']);
    const known = await reportOf(newcomer, 'a');
    expectNamed([known.in_flight, known.load], `by its ${known.source}`).toStrictEqual([2, 0.5]);

    for (const response of worker.held) response.end();
    for (const stream of await Promise.all(streams)) expect(stream.status).toBe(200);
    await eventually(
      'the slots are free',
      async () => (await a.admin('/metrics')).body,
      (metrics) => /sidecar_worker_in_flight\{[^}]*\} 0$/m.test(metrics),
    );
  });

  test('a full worker that a stale view takes for free sends the request on, before the worker sees it', async () => {
    const mesh = new TestMesh();
    const workers = await Promise.all([holdingWorker(), holdingWorker()]);
    for (const [i, { url }] of workers.entries()) {
      await mesh.join({ id: `w${i}`, services: { infer: { url, concurrency: 1, queue: 10 } } });
    }
    const stale = await mesh.join({ id: 'stale', env: NO_PROBES });
    await stale.get('infer');
    await stale.knows(['w0', 'w1']);
    const other = await mesh.join({ id: 'other', env: NO_PROBES });
    await other.get('infer');
    await other.knows(['w0', 'w1']);
    const stream = other.get('infer', '/held');
    const busy = await eventually(
      'one is taken by the other caller',
      () => workers.findIndex(({ held }) => held.length === 1),
      (index) => index >= 0,
    );
    const before = workers[busy]?.seen.length;
    let turnedAway = 0;
    for (let i = 0; i < 12; i += 1) {
      const answer = await stale.get('infer');
      expect([answer.status, answer.headers['sidecar-worker']]).toStrictEqual([200, `w${1 - busy}`]);
      turnedAway += Number(answer.headers['sidecar-attempts']) - 1;
    }
    expectNamed(workers[busy]?.seen.length, 'the full worker saw none of them').toBe(before);
    // It knew only once: the refusal told the true state.
    expectNamed(turnedAway, `${turnedAway} times turned away`).toBeLessThanOrEqual(2);
    for (const { held } of workers) for (const response of held) response.end();
    expect((await stream).status).toBe(200);
  });

  test('the same affinity key goes to the same worker, keys spread, and no worker sees them', async () => {
    const mesh = new TestMesh();
    const workers = await Promise.all([startHttpWorker(), startHttpWorker(), startHttpWorker()]);
    for (const [i, { url }] of workers.entries()) {
      await mesh.join({ id: `w${i}`, services: { infer: { url, concurrency: 8 } } });
    }
    const caller = await mesh.join({ id: 'caller' });
    await caller.get('infer');
    await caller.knows(['w0', 'w1', 'w2']);
    const homes = new Set<unknown>();
    for (let key = 0; key < 12; key += 1) {
      const seen = new Set<unknown>();
      for (let i = 0; i < 4; i += 1) {
        const headers = { 'sidecar-affinity': `session-${key}` };
        const answer = await caller.call({ target: '/service/infer/', headers });
        expect(answer.status).toBe(200);
        seen.add(answer.headers['sidecar-worker']);
      }
      expectNamed(seen.size, `session-${key} went to ${[...seen].join()}`).toBe(1);
      for (const id of seen) homes.add(id);
    }
    expect(homes.size).toBeGreaterThanOrEqual(2);
    for (const { seen } of workers) {
      for (const { headers } of seen) expect(headers['sidecar-affinity']).toBe(undefined);
    }
  });

  test('the decision tells each term, the age and source of what it came from, why not, and who was next', async () => {
    const mesh = new TestMesh();
    const workers = await Promise.all([startHttpWorker(), startHttpWorker()]);
    for (const [i, { url }] of workers.entries()) {
      await mesh.join({ id: `w${i}`, services: { infer: { url, concurrency: 4 } } });
    }
    const caller = await mesh.join({ id: 'caller' });
    await caller.get('infer');
    await caller.knows(['w0', 'w1']);
    expectNamed((await caller.get('infer')).headers['sidecar-decision'], 'only on demand').toBe(undefined);
    const answer = await caller.call({ target: '/service/infer/', headers: { 'sidecar-explain': '1' } });
    const decision = JSON.parse(String(answer.headers['sidecar-decision'])) as Decision;
    expect(decision.chosen).toBe(answer.headers['sidecar-worker']);
    expect(decision.candidates.map(({ worker_id }) => worker_id).sort()).toStrictEqual(['w0', 'w1']);
    for (const { worker_id, why_not, reported, score } of decision.candidates) {
      expect(why_not === null).toBe(worker_id === decision.chosen);
      expect(typeof reported.age_ms).toBe('number');
      expect(reported.age_ms).toBeGreaterThanOrEqual(0);
      expect(reported.source).toMatch(/^(?:record|probe|response)$/);
      for (const term of [
        'weight',
        'live_load',
        'unreported',
        'requests',
        'slots',
        'service_ms',
        'extra_ms',
      ]) {
        expectNamed(typeof score?.[term], term).toBe('number');
      }
    }
    const { worker_id, load_margin, expected_ms_margin } = decision.chosenNext ?? fail('nobody next');
    expect(worker_id).not.toBe(decision.chosen);
    expect([typeof load_margin, typeof expected_ms_margin]).toStrictEqual(['number', 'number']);
  });
});
