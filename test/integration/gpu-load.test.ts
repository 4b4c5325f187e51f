/**
 * GPU load through a real process that stands in for nvidia-smi: lines, silence, death, absence, stop.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { NvidiaGpuMeter, parseGpuLine } from '../../sidecar/load/gpu.ts';
import { LoadSampler } from '../../sidecar/load/sampler.ts';
import { expectNamed, fail, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

describe('the GPU load', () => {
  test('a line of nvidia-smi is read, anything else is none', () => {
    const nothing = { ratio: null, memoryMib: null, model: null };
    expect(parseGpuLine('0, 37')).toStrictEqual({ ...nothing, index: 0, ratio: 0.37 });
    expect(parseGpuLine('12, 100 %, 8192')).toStrictEqual({
      ...nothing,
      index: 12,
      ratio: 1,
      memoryMib: 8192,
    });
    expect(parseGpuLine('1, [N/A], 24564, NVIDIA GeForce RTX 4090')).toStrictEqual({
      ...{ index: 1, ratio: null, memoryMib: 24564, model: 'NVIDIA GeForce RTX 4090' },
    });
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
      '0, [N/A], [N/A], [N/A]',
      '0, 101, 0, \u001b[31m',
    ]) {
      expectNamed(parseGpuLine(line), line).toBe(null);
    }
  });

  /** A program in a folder of its own that is run in place of nvidia-smi. */
  function program(script: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'nvidia-smi');
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  function create(command: string, restartMs = 60_000) {
    const clock = { nowMs: 0 };
    const meter = new NvidiaGpuMeter({ command, staleMs: 5_000, restartMs, nowMs: () => clock.nowMs });
    onTestEnd(() => meter.stop());
    return { meter, clock };
  }

  test('what the GPUs are is learnt from the same process, and stays known when it ends', async () => {
    const { meter } = create(
      program(
        'echo "0, 10, 24564, NVIDIA GeForce RTX 4090"; echo "1, 20, 16376, NVIDIA RTX A4000"; exec sleep 60',
      ),
    );
    expect(meter.capabilities).toStrictEqual({});
    meter.start();
    await until(() => meter.capabilities.gpu_count === 2);
    const known = { gpu_count: 2, gpu_type: 'NVIDIA GeForce RTX 4090', vram_gb: 16 };
    expect(meter.capabilities).toStrictEqual(known);
    await meter.stop();
    expect(meter.capabilities).toStrictEqual(known);
  });

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

  test('the mean of all GPUs, also when a line comes in pieces', async () => {
    const { meter } = create(
      program("printf '0, 20\\n1, '; sleep 0.05; printf '60\\n2, [N/A]\\n'; exec sleep 600"),
    );
    expect(meter.sample()).toBe(null);
    meter.start();
    await until(() => meter.sample() === 0.4);
  });

  test('a figure that is too old is none', async () => {
    const { meter, clock } = create(program("echo '0, 50'; exec sleep 600"));
    meter.start();
    await until(() => meter.sample() === 0.5);
    clock.nowMs = 5_001;
    expect(meter.sample()).toBe(null);
  });

  test('garbage and endless lines are ignored', async () => {
    const { meter } = create(
      program("head -c 300000 /dev/zero | tr '\\0' x; printf '\\n\\377\\376\\n0, 30\\n'; exec sleep 600"),
    );
    meter.start();
    await until(() => meter.sample() === 0.3);
  });

  test('a process that ends is silence, and is started again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    const waitFor = (path: string): string => `while [ ! -e ${path} ]; do sleep 0.02; done`;
    const { meter } = create(
      program(
        `if [ ! -e ${first} ]; then echo '0, 10'; ${waitFor(first)}; exit 9; fi
        ${waitFor(second)}; echo '0, 90'; exec sleep 600`,
      ),
      10,
    );
    meter.start();
    await until(() => meter.sample() === 0.1);
    const { pid } = meter;
    writeFileSync(first, '');
    await until(() => meter.pid !== pid);
    expectNamed(meter.sample(), 'the one that runs now has said nothing').toBe(null);
    writeFileSync(second, '');
    await until(() => meter.sample() === 0.9);
  });

  test('a process that dies in the midst is one line in the log, and never an idle GPU', async () => {
    const { meter } = create(program("echo '0, 90'; exec sleep 600"), 600_000);
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
    expect([load().source, load().loadRatio]).toStrictEqual(['gpu', 0.9]);
    process.kill(meter.pid ?? fail('it runs'), 'SIGKILL');
    await until(() => meter.sample() === null);
    for (let i = 0; i < 5; i++) sampler.sampleNow();
    expect([load().bySource.gpu, load().source, load().loadRatio]).toStrictEqual([null, 'cpu', 0.2]);
    expect(lines).toStrictEqual(['load source failed; dropped until it speaks again']);
  });

  test('no such program: no GPU, and nothing left to stop', async () => {
    const { meter } = create('/nonexistent/nvidia-smi', 1);
    meter.start();
    await new Promise((resolve) => setImmediate(resolve));
    expect(meter.sample()).toBe(null);
    await meter.stop();
  });

  test('stop ends the process, also one that ignores SIGTERM', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gpu-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    const { meter } = create(
      program('trap \'\' TERM; echo "0, $(( $$ % 100 ))"; while :; do sleep 0.05; done'),
    );
    meter.start();
    await until(() => meter.sample() !== null);
    const pid = meter.pid;
    mustHold(pid !== null && !isGone(pid));
    await meter.stop();
    expect(isGone(pid)).toBe(true);
    expect(meter.sample()).toBe(null);
  });
});
