/** The log's way out: full, not read, or with nobody at the other end, it costs lines and nothing else. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { logSink } from '../../sidecar/observe/log-sink.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const LINE = `${'x'.repeat(1_022)}`;

/** Far more than a pipe and what may wait hold. */
const LINES = 4_000;

/** A pipe, its reading end not blocking. */
function pipe(): { readonly from: number; readonly to: number } {
  const folder = mkdtempSync(join(tmpdir(), 'log-sink-'));
  onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'pipe');
  expect(spawnSync('sh', ['-c', 'mkfifo "$0"', path]).status).toBe(0);
  const from = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { from, to: openSync(path, constants.O_WRONLY) };
}

function readAll(fd: number): string {
  const chunk = Buffer.alloc(1 << 20);
  let text = '';
  try {
    for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk)) {
      text += chunk.toString('latin1', 0, count);
    }
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN');
  }
  return text;
}

describe("the log's way out", () => {
  test('a reader who stands still holds nobody up; he gets whole lines in their order, and how many are lost', async () => {
    const { from, to } = pipe();
    const told: [number, string][] = [];
    const sink = logSink(to, (count, reason) => {
      told.push([count, reason]);
      sink.write('told\n');
    });
    for (let at = 0; at < LINES; at++) sink.write(`${LINE}${at}\n`);
    expect(told).toStrictEqual([]);
    let text = '';
    // Keeps the process for the timer of the sink, which does not.
    await eventually(
      'he is told',
      async () => {
        text += readAll(from);
        return text.endsWith('told\n');
      },
      (isTold) => isTold,
    );
    const lines = text.split('\n').slice(0, -2);
    expectNamed(lines.length, `${lines.length} lines are kept`).toBeGreaterThan(1_000);
    expect(lines).toStrictEqual(lines.map((_, at) => `${LINE}${at}`));
    expect(told).toStrictEqual([[LINES - lines.length, 'EAGAIN']]);
  }, 20_000);

  test('a reader who has gone, and a full disk: writing goes on without a word', () => {
    const { from, to } = pipe();
    closeSync(from);
    for (const fd of [to, openSync('/dev/full', 'w')]) {
      const sink = logSink(fd, () => fail('there is no room'));
      for (let at = 0; at < LINES; at++) sink.write(`${LINE}${at}\n`);
    }
  });
});
