/** The worker key that could not be kept at the start: tried again, and what is said of it. */

import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import { persistKey } from '../../sidecar/mesh/membership/persist-key.ts';
import type { Kept } from '../../sidecar/mesh/membership/worker-key.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';

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

describe('a worker key that could not be kept', () => {
  test('kept at once: nothing is said or tried again', () => {
    const { clock, lines, end, tries } = setUp({ kind: 'kept' });
    end();
    expect([lines, tries(), clock.pending]).toStrictEqual([[], 1, 0]);
  });

  test('kept in the end: said once before and once then', async () => {
    const { clock, lines, tries } = setUp(FAULT, FAULT, { kind: 'kept' });
    await clock.advance(10_000);
    expect([lines.length, tries(), clock.pending]).toStrictEqual([2, 3, 0]);
    expect(lines[0] ?? '').toMatch(/^warn: the worker key cannot be kept/);
    expect(lines[1]).toBe('info: the worker key is kept now');
  });

  test('another sidecar was first: a warning, and never that the key is kept', async () => {
    const { clock, lines, end, tries } = setUp(FAULT, TAKEN);
    await clock.advance(10_000);
    end();
    expect([lines.length, tries(), clock.pending]).toStrictEqual([2, 2, 0]);
    expect(lines[1] ?? '').toMatch(/^warn: the state directory holds the worker key of another sidecar/);
  });

  test('the end is a last try', () => {
    const { clock, lines, end } = setUp(FAULT, { kind: 'kept' });
    end();
    expect([lines.length, clock.pending]).toStrictEqual([2, 0]);
  });
});
