/** The worker key that could not be kept at the start: tried again, and what is said of it. */

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import test from 'node:test';
import { silentLog } from '../../sidecar/core/log.ts';
import { persistKey } from '../../sidecar/mesh/membership/persist-key.ts';
import type { Kept } from '../../sidecar/mesh/membership/worker-key.ts';
import { FakeClock } from '../support/fake-clock.ts';

const FAULT: Kept = { kind: 'fault', reason: 'ENOSPC' };
const TAKEN: Kept = { kind: 'taken', seed: Buffer.alloc(32) };

/** `answers`: of each try; the last one repeats. */
function setUp(...answers: [Kept, ...Kept[]]) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const say = (level: string) => (_fields: object, message: string) => {
    lines.push(`${level}: ${message}`);
  };
  let tries = 0;
  const end = persistKey({
    keepKey: () => answers[Math.min(tries++, answers.length - 1)] as Kept,
    clock,
    log: { ...silentLog, info: say('info'), warn: say('warn'), debug: say('debug') },
    intervalMs: 1_000,
  });
  return { clock, lines, end, tries: () => tries };
}

test('kept at once: nothing is said or tried again', () => {
  const { clock, lines, end, tries } = setUp({ kind: 'kept' });
  end();
  assert.deepEqual([lines, tries(), clock.pending], [[], 1, 0]);
});

test('kept in the end: said once before and once then', async () => {
  const { clock, lines, tries } = setUp(FAULT, FAULT, { kind: 'kept' });
  await clock.advance(10_000);
  assert.deepEqual([lines.length, tries(), clock.pending], [2, 3, 0]);
  assert.match(lines[0] ?? '', /^warn: the worker key cannot be kept/);
  assert.equal(lines[1], 'info: the worker key is kept now');
});

test('another sidecar was first: a warning, and never that the key is kept', async () => {
  const { clock, lines, end, tries } = setUp(FAULT, TAKEN);
  await clock.advance(10_000);
  end();
  assert.deepEqual([lines.length, tries(), clock.pending], [2, 2, 0]);
  assert.match(lines[1] ?? '', /^warn: the state directory holds the worker key of another sidecar/);
});

test('the end is a last try', () => {
  const { clock, lines, end } = setUp(FAULT, { kind: 'kept' });
  end();
  assert.deepEqual([lines.length, clock.pending], [2, 0]);
});
