/**
 * A member that lies about how it is: free, quick, new, or with a queue that has just begun. What it draws is bounded,
 * each request ends, and those that may be sent twice are served by others.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { HostileStage } from '../support/meshes/hostile-stage.ts';
import type { Member } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import type { Answer } from '../support/wire/http-client.ts';

/** Answers by status and worker. */
function tally(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, headers } of answers) {
    const key = `${status} ${headers['sidecar-worker'] ?? 'nobody'}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

async function inTurn(stage: HostileStage, count: number): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  for (let n = 0; n < count; n += 1) answers.push(await stage.app.get('ocr'));
  return answers;
}

describe('a member that lies about its load', () => {
  test('one that starts anew with each failure is ejected all the same', async () => {
    const stage = await HostileStage.set({ env: { SIDECAR_POLICY: 'round-robin' } });
    const { hostile } = stage;
    let epoch = hostile.epoch;
    hostile.onRequest = (asked) => asked.answer(503, 'no', [hostile.report({ sidecar_epoch: ++epoch })]);
    const counts = tally(await inTurn(stage, 60));
    expectNamed(hostile.asked.length, `${hostile.asked.length} of 60`).toBeLessThanOrEqual(15);
    expect(counts['200 honest']).toBe(60 - hostile.asked.length);
    // Of those, each says whose response it is.
    expect(counts['503 hostile']).toBe(hostile.asked.length);
    await stage.isSound();
  });

  test('refusals in turn, and such as nobody knows, lead each request to the honest one', async () => {
    const stage = await HostileStage.set();
    const { hostile } = stage;
    hostile.onRequest = (asked) =>
      asked.answer(503, 'no', ['sidecar-refusal: toString;not_sent;', 'sidecar-refusal: ;;;;']);
    const unknown = await stage.drawn();
    expect([unknown.status, unknown.headers['sidecar-worker'], unknown.body]).toStrictEqual([
      503,
      'hostile',
      'no',
    ]);
    const codes = ['saturated', 'draining', 'warming', 'connect_failed', 'not_a_member', 'saturated'];
    let n = 0;
    hostile.onRequest = (asked) => {
      const code = codes[n++ % codes.length];
      asked.answer(503, 'no', [
        hostile.report(),
        `sidecar-refusal: ${code};not_sent;${'so it is '.repeat(100)}`,
      ]);
    };
    const answers = await inTurn(stage, 60);
    expect(tally(answers)).toStrictEqual({ '200 honest': 60 });
    // Turned away it comes back twice at most.
    expectNamed(hostile.asked.length, `${hostile.asked.length} for 60`).toBeLessThanOrEqual(181);
    hostile.onRequest = (asked) => asked.answer(200, 'enough');
    await stage.isSound();
  });

  test('one that says it is free and hangs gets no more once the first have waited in vain', async () => {
    const stage = await HostileStage.set();
    const { app, hostile, worker } = stage;
    hostile.onRequest = () => {};
    const bodies = Array.from({ length: 40 }, (_, n) => `number ${n}`);
    const answers = await Promise.all(
      bodies.map((body) => app.call({ method: 'POST', target: '/service/ocr/', body })),
    );
    const drawn = hostile.asked.length;
    expectNamed(drawn, 'too few to tell').toBeGreaterThanOrEqual(5);
    expect(tally(answers)).toStrictEqual({ '200 honest': 40 - drawn, '504 nobody': drawn });
    for (const { status, body } of answers) if (status === 504) expect(body).toMatch(/hostile/);
    expectNamed(new Set(worker.seen.map(({ body }) => body)).size, 'delivered twice').toBe(
      worker.seen.length,
    );
    expect(tally(await inTurn(stage, 50))).toStrictEqual({ '200 honest': 50 });
    expect(hostile.asked).toHaveLength(drawn);
    await stage.isSound();
  });

  test('one that claims to be next draws one waiting request per answer, and can lose none', async () => {
    const stage = await HostileStage.set({
      worker: { serviceMs: 250 },
      service: { concurrency: 1, queue: 20 },
      env: {
        SIDECAR_TIMEOUT_HEAD: '3s',
        SIDECAR_PROBE_FEW_INTERVAL: '10m',
        SIDECAR_PROBE_MANY_INTERVAL: '10m',
      },
    });
    const { app, hostile, honest, worker } = stage;
    const busy = { in_flight: 1, concurrency: 1 };
    hostile.onState = (asked) => asked.socket.destroy();
    hostile.onRequest = (asked) => asked.answer(200, 'one', [hostile.report(busy)]);
    await stage.drawn();
    hostile.onRequest = () => {};
    const before = hostile.asked.length;
    const seenBefore = worker.seen.length;
    const bodies = Array.from({ length: 6 }, (_, n) => `number ${n}`);
    const answers = bodies.map((body) => app.call({ method: 'POST', target: '/service/ocr/', body }));
    await eventually(
      'it holds one at least, and others wait at the honest one',
      async () => [hostile.asked.length - before, await metric(honest, 'sidecar_worker_queued')],
      ([held, queued]) => Number(held) >= 1 && Number(queued) >= 2,
    );
    await pause(50);
    const held = hostile.asked.length;
    hostile.asked[before]?.answer(200, 'one', [hostile.report({ queued: 1, oldest_ms: 0, concurrency: 1 })]);
    await eventually(
      'a request was moved',
      () => hostile.asked.length,
      (count) => count === held + 1,
    );
    const counts = tally(await Promise.all(answers));
    const lost = hostile.asked.length - before - 1;
    expectNamed(hostile.asked, 'one response, one request').toHaveLength(held + 1);
    expect(counts).toStrictEqual({ '200 honest': 6 - 1 - lost, '200 hostile': 1, '504 nobody': lost });
    const seen = worker.seen.slice(seenBefore).map(({ body }) => body);
    expectNamed(new Set(seen).size, 'delivered twice').toBe(seen.length);
    expect(seen).toHaveLength(6 - 1 - lost);
    expect(await metric(app, 'sidecar_moved_requests_total')).toBe(1);
    hostile.onRequest = (asked) => asked.answer(200, 'enough');
    await stage.isSound();
  });
});

async function metric(member: Member, name: string): Promise<number> {
  const { body } = await member.admin('/metrics');
  return Number(new RegExp(`^${name}(?:{[^}]*})? (\\d+)$`, 'm').exec(body)?.[1]);
}
