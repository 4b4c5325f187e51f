/**
 * A member that lies about how it is: free, quick, new, or with a queue that has just begun. What it draws is bounded,
 * each request ends, and those that may be sent twice are served by others.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from '../support/eventually.ts';
import { HostileStage } from '../support/hostile-stage.ts';
import type { Answer } from '../support/http-client.ts';
import type { Member } from '../support/mesh.ts';

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

test('one that starts anew with each failure is ejected all the same', async (t) => {
  const stage = await HostileStage.set(t, { env: { SIDECAR_POLICY: 'round-robin' } });
  const { hostile } = stage;
  let epoch = hostile.epoch;
  hostile.onRequest = (asked) => asked.answer(503, 'no', [hostile.report({ sidecar_epoch: ++epoch })]);
  const counts = tally(await inTurn(stage, 60));
  assert.ok(hostile.asked.length <= 15, `${hostile.asked.length} of 60`);
  assert.equal(counts['200 honest'], 60 - hostile.asked.length);
  // Of those, each says whose response it is.
  assert.equal(counts['503 hostile'], hostile.asked.length);
  await stage.isSound();
});

test('refusals in turn, and such as nobody knows, lead each request to the honest one', async (t) => {
  const stage = await HostileStage.set(t);
  const { hostile } = stage;
  hostile.onRequest = (asked) =>
    asked.answer(503, 'no', ['sidecar-refusal: toString;not_sent;', 'sidecar-refusal: ;;;;']);
  const unknown = await stage.drawn();
  assert.deepEqual([unknown.status, unknown.headers['sidecar-worker'], unknown.body], [503, 'hostile', 'no']);
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
  assert.deepEqual(tally(answers), { '200 honest': 60 });
  // Turned away it comes back twice at most.
  assert.ok(hostile.asked.length <= 181, `${hostile.asked.length} for 60`);
  hostile.onRequest = (asked) => asked.answer(200, 'enough');
  await stage.isSound();
});

test('one that says it is free and hangs gets no more once the first have waited in vain', async (t) => {
  const stage = await HostileStage.set(t);
  const { app, hostile, worker } = stage;
  hostile.onRequest = () => {};
  const bodies = Array.from({ length: 40 }, (_, n) => `number ${n}`);
  const answers = await Promise.all(
    bodies.map((body) => app.call({ method: 'POST', target: '/service/ocr/', body })),
  );
  const drawn = hostile.asked.length;
  assert.ok(drawn >= 5, 'too few to tell');
  assert.deepEqual(tally(answers), { '200 honest': 40 - drawn, '504 nobody': drawn });
  for (const { status, body } of answers) if (status === 504) assert.match(body, /hostile/);
  assert.equal(new Set(worker.seen.map(({ body }) => body)).size, worker.seen.length, 'delivered twice');
  assert.deepEqual(tally(await inTurn(stage, 50)), { '200 honest': 50 });
  assert.equal(hostile.asked.length, drawn);
  await stage.isSound();
});

test('one that claims to be next draws one waiting request per answer, and can lose none', async (t) => {
  const stage = await HostileStage.set(t, {
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
  assert.equal(hostile.asked.length, held + 1, 'one response, one request');
  assert.deepEqual(counts, { '200 honest': 6 - 1 - lost, '200 hostile': 1, '504 nobody': lost });
  const seen = worker.seen.slice(seenBefore).map(({ body }) => body);
  assert.equal(new Set(seen).size, seen.length, 'delivered twice');
  assert.equal(seen.length, counts['200 honest']);
  assert.equal(await metric(app, 'sidecar_moved_requests_total'), 1);
  hostile.onRequest = (asked) => asked.answer(200, 'enough');
  await stage.isSound();
});

async function metric(member: Member, name: string): Promise<number> {
  const { body } = await member.admin('/metrics');
  return Number(new RegExp(`^${name}(?:{[^}]*})? (\\d+)$`, 'm').exec(body)?.[1]);
}
