/**
 * Ten times the capacity of a service for 30 s: the workers stay busy, everybody else is told so at once, nothing
 * piles up, and the first quiet second is an ordinary one.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect } from '@jest/globals';
import { OpenLoad, percentile } from '../support/generators/open-load.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const SERVICE = 'ocr';
const CONCURRENCY = 4;
const QUEUE = 4;

/** Long enough that refusals, and not two busy cores, are what is measured. */
const WORK_MS = 200;
const CAPACITY = (2 * CONCURRENCY * 1_000) / WORK_MS;
const OVERLOAD_MS = 30_000;

/** V8 lets garbage grow by 100 MiB and more before it looks; with little room for it, what grows is kept by somebody. */
const LITTLE_ROOM = { NODE_OPTIONS: '--max-semi-space-size=4 --max-old-space-size=96' };

/** The heap has found its size by then. */
const WARM_MS = 8_000;
const GROWTH_MIB = 32;
const RECOVERY_MS = 2_000;

async function mesh(): Promise<readonly SidecarProcess[]> {
  const up = await MeshProcesses.up();
  const workers = await Promise.all(['one', 'two'].map((name) => up.worker(name)));
  for (const worker of workers) await worker.set({ mode: 'delay', ms: WORK_MS });
  const sidecars = await Promise.all([
    ...workers.map(({ url }, at) =>
      up.sidecar({
        id: ['one', 'two'][at] as string,
        env: LITTLE_ROOM,
        services: { [SERVICE]: { url, concurrency: CONCURRENCY, queue: QUEUE } },
      }),
    ),
    up.sidecar({ id: 'app', env: LITTLE_ROOM }),
  ]);
  const app = sidecars.at(-1) as SidecarProcess;
  expect((await app.get(SERVICE)).status).toBe(200);
  await app.knows(['one', 'two']);
  return sidecars;
}

async function residentMib({ process }: SidecarProcess): Promise<number> {
  const [, kib] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${process.pid}/status`, 'latin1')) ?? [];
  return Number(kib) / 1_024;
}

/** Requests that the sidecar still holds: here, at its worker, and in the queue. */
async function held(sidecar: SidecarProcess): Promise<number> {
  const { body } = await sidecar.admin('/metrics');
  const gauges = /^sidecar_(?:requests_in_progress|worker_in_flight|worker_queued)\{[^}]*\} (\d+)/gm;
  const counts = [...body.matchAll(gauges)].map(([, count]) => Number(count));
  expect(counts.length).toBeGreaterThan(0);
  return counts.reduce((sum, count) => sum + count, 0);
}

/** How long the sidecar takes, in the median, to say that it lives, asked now and then until the end. */
async function answersMeanwhile(sidecar: SidecarProcess, end: AbortSignal): Promise<number> {
  const took: number[] = [];
  while (!end.aborted) {
    const startedMs = performance.now();
    await sidecar.admin('/livez');
    took.push(performance.now() - startedMs);
    await pause(100);
  }
  return took.sort((a, b) => a - b)[took.length >> 1] ?? 0;
}

describe('a service that is asked for ten times its capacity', () => {
  testUnless(process.platform === 'linux' ? null : 'needs /proc')(
    'the workers stay busy, the rest is refused at once, and nothing piles up',
    async () => {
      const sidecars = await mesh();
      const app = sidecars.at(-1) as SidecarProcess;
      const load = new OpenLoad(app.address.outbound, `/service/${SERVICE}/`);
      onTestEnd(() => load.close());
      const startedMs = performance.now();
      const offered = load.send(10 * CAPACITY, OVERLOAD_MS);
      const own = new AbortController();
      const anything = answersMeanwhile(app, own.signal);
      await pause(WARM_MS);
      const before = await Promise.all(sidecars.map(residentMib));
      await offered;
      const after = await Promise.all(sidecars.map(residentMib));
      const endedMs = performance.now();
      await load.settle();
      own.abort();
      const anythingMs = await anything;
      const all = [...load.ended];

      const seconds = (endedMs - startedMs) / 1_000;
      const served = all.filter(({ status }) => status === 200);
      const refused = all.filter(({ status }) => status === 503);
      const rate = served.length / seconds;
      note(
        `${all.length} offered in ${seconds.toFixed(1)} s, ${rate.toFixed(1)}/s of ${CAPACITY}/s served, ` +
          `refused after ${percentile(refused, 0.5).toFixed(1)} ms (p99 ${percentile(refused, 0.99).toFixed(1)})`,
      );
      note(`MiB ${before.map(Math.round).join(', ')} → ${after.map(Math.round).join(', ')}`);
      expectNamed(served.length + refused.length, 'served or refused, nothing else').toBe(all.length);
      expectNamed(rate, `served ${rate.toFixed(1)}/s`).toBeGreaterThanOrEqual(0.9 * CAPACITY);
      for (const { code, retryAfter } of refused)
        expect([code, retryAfter]).toStrictEqual(['saturated', '1']);
      // No later than this sidecar answers anything at all on this machine, in this minute.
      expectNamed(
        percentile(refused, 0.5),
        `refused at once; anything else took ${anythingMs} ms`,
      ).toBeLessThan(Math.max(WORK_MS, 6 * anythingMs));
      // Who waits, waits for its place in the queue, and no longer.
      expectNamed(percentile(served, 0.9), `served in ${percentile(served, 0.9)} ms`).toBeLessThan(
        10 * WORK_MS + 10 * anythingMs,
      );
      for (const [at, mib] of after.entries()) {
        expectNamed(
          mib - (before[at] as number),
          `${sidecars[at]?.id}: ${before[at]} → ${mib} MiB`,
        ).toBeLessThan(GROWTH_MIB);
      }

      // Half of what it can serve: from the third second on as if nothing had been.
      load.ended.length = 0;
      const quietMs = performance.now();
      await load.send(CAPACITY / 2, 5_000);
      await load.settle();
      const bad = load.ended.filter(({ status, tookMs }) => status !== 200 || tookMs > 2 * WORK_MS);
      const lastBadMs = Math.max(0, ...bad.map(({ sentMs }) => sentMs - quietMs));
      note(
        `afterwards ${bad.length} of ${load.ended.length} late or refused, the last sent after ${lastBadMs.toFixed(0)} ms`,
      );
      expectNamed(
        lastBadMs,
        `the last one that was late or refused was sent after ${lastBadMs} ms`,
      ).toBeLessThan(RECOVERY_MS);
      expect(await Promise.all(sidecars.map(held))).toStrictEqual([0, 0, 0]);
    },
  );
});
