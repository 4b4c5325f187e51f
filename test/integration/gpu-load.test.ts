/**
 * GPU load through a real process that stands in for nvidia-smi: lines, silence, death, absence, stop.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { NvidiaGpuMeter, parseGpuLine } from '../../sidecar/load/gpu.ts';
import { LoadSampler } from '../../sidecar/load/sampler.ts';

test('lines of nvidia-smi', () => {
  assert.deepEqual(parseGpuLine('0, 37'), { index: 0, ratio: 0.37 });
  assert.deepEqual(parseGpuLine('12, 100 %'), { index: 12, ratio: 1 });
  for (const line of [
    '',
    '0',
    '0, [N/A]',
    '0, [Not Supported]',
    '0, 101',
    '-1, 5',
    '0, 1e2',
    '999, 5',
    'No devices were found',
    '0, 5, 6',
  ]) {
    assert.equal(parseGpuLine(line), null, line);
  }
});

/** A program in a folder of its own that is run in place of nvidia-smi. */
function program(t: TestContext, script: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'nvidia-smi');
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

function create(t: TestContext, command: string, restartMs = 60_000) {
  const clock = { nowMs: 0 };
  const meter = new NvidiaGpuMeter({ command, staleMs: 5_000, restartMs, nowMs: () => clock.nowMs });
  t.after(() => meter.stop());
  return { meter, clock };
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A process is gone when no signal reaches it. */
function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

test('the mean of all GPUs, also when a line comes in pieces', async (t) => {
  const { meter } = create(
    t,
    program(t, "printf '0, 20\\n1, '; sleep 0.05; printf '60\\n2, [N/A]\\n'; exec sleep 600"),
  );
  assert.equal(meter.sample(), null);
  meter.start();
  await until(() => meter.sample() === 0.4);
});

test('figures that are too old are none', async (t) => {
  const { meter, clock } = create(t, program(t, "echo '0, 50'; exec sleep 600"));
  meter.start();
  await until(() => meter.sample() === 0.5);
  clock.nowMs = 5_001;
  assert.equal(meter.sample(), null);
});

test('garbage and endless lines are ignored', async (t) => {
  const { meter } = create(
    t,
    program(t, "head -c 300000 /dev/zero | tr '\\0' x; printf '\\n\\377\\376\\n0, 30\\n'; exec sleep 600"),
  );
  meter.start();
  await until(() => meter.sample() === 0.3);
});

test('a process that ends is silence, and is started again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const again = join(folder, 'again');
  const { meter } = create(
    t,
    program(
      t,
      `if [ -e ${again} ]; then echo '0, 90'; exec sleep 600; fi; touch ${again}; echo '0, 10'; exit 9`,
    ),
    10,
  );
  meter.start();
  await until(() => meter.sample() === 0.9);
});

test('a process that dies in the midst is one line in the log, and never an idle GPU', async (t) => {
  const { meter } = create(t, program(t, "echo '0, 90'; exec sleep 600"), 600_000);
  const lines: string[] = [];
  const line = (_fields: unknown, message: string) => void lines.push(message);
  const sampler = new LoadSampler({
    intervalMs: 1_000,
    cpu: () => 0.2,
    pressure: null,
    gpu: () => meter.sample(),
    log: { info: line, warn: line },
  });
  const load = () => sampler.loadOf({ slots: null, orca: null, push: null, metrics: null }, 'gpu');
  meter.start();
  await until(() => meter.sample() === 0.9);
  sampler.sampleNow();
  assert.deepEqual([load().source, load().loadRatio], ['gpu', 0.9]);
  process.kill(meter.pid ?? assert.fail('it runs'), 'SIGKILL');
  await until(() => meter.sample() === null);
  for (let i = 0; i < 5; i++) sampler.sampleNow();
  assert.deepEqual([load().bySource.gpu, load().source, load().loadRatio], [null, 'cpu', 0.2]);
  assert.deepEqual(lines, ['load source failed; dropped until it speaks again']);
});

test('no such program: no GPU, and nothing left to stop', async (t) => {
  const { meter } = create(t, '/nonexistent/nvidia-smi', 1);
  meter.start();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(meter.sample(), null);
  await meter.stop();
});

test('stop ends the process, also one that ignores SIGTERM', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { meter } = create(
    t,
    program(t, 'trap \'\' TERM; echo "0, $(( $$ % 100 ))"; while :; do sleep 0.05; done'),
  );
  meter.start();
  await until(() => meter.sample() !== null);
  const pid = meter.pid;
  assert.ok(pid !== null && !isGone(pid));
  await meter.stop();
  assert.ok(isGone(pid));
  assert.equal(meter.sample(), null);
});
