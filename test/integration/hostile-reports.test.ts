/**
 * A member that lies about how it is: free, quick, new, or with a queue that has just begun. What it draws is bounded,
 * each request ends, and those that may be sent twice are served by others.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { HostileStage } from '../support/hostile-stage.ts';
import type { Answer } from '../support/http-client.ts';

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
  // Of those, each says whose answer it is.
  assert.equal(counts['503 hostile'], hostile.asked.length);
  await stage.isSound();
});
