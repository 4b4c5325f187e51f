/**
 * Hosts that sleep for a minute: the app's, and a worker's with all that runs on it. SIGSTOP stands for the lid of
 * the machine: nothing runs, the others' packets wait, and then all clocks have moved on at once.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const ASLEEP_MS = 60_000;

/** A request begun when the sleep begins pays this before it goes elsewhere. */
const ASLEEP_COSTS_MS = 4_000;

/** The first request of a host that has just woken. */
const FIRST_MS = 1_500;
const USED_AGAIN_MS = 10_000;

/** Lookups and lines of the log (at debug) in the seconds after waking; all those of a minute at once were many more. */
const CALM_MS = 3_000;
const MAX_LOOKUPS = 4;
const MAX_LINES = 60;

interface Sample {
  readonly status: number;
  readonly worker: unknown;
  readonly tookMs: number;
  readonly body: string;
}

async function ask(app: SidecarProcess): Promise<Sample> {
  const startedMs = performance.now();
  const { body, headers, status } = await app.get('alpha');
  return {
    status,
    worker: headers['sidecar-worker'],
    tookMs: Math.round(performance.now() - startedMs),
    body,
  };
}

/** Lines of its log, at debug, since this Unix time. */
function linesSince(app: SidecarProcess, unixMs: number): string[] {
  const lines = app.process.lastLines(500).split('\n');
  return lines.filter((line) => Date.parse(/"time":"([^"]*)"/.exec(line)?.[1] ?? '') >= unixMs);
}

async function fleet() {
  const mesh = await MeshProcesses.up();
  const [one, two] = await Promise.all([mesh.worker('one'), mesh.worker('two')]);
  const env = { SIDECAR_POLICY: 'round-robin' };
  const [, sleeps, awake, dozes] = await Promise.all([
    mesh.sidecar({ id: 'stays', services: { alpha: one.url } }),
    mesh.sidecar({ id: 'sleeps', services: { alpha: two.url } }),
    mesh.sidecar({ id: 'awake', env }),
    mesh.sidecar({ id: 'dozes', env }),
  ]);
  for (const app of [awake, dozes]) await app.knows(['stays', 'sleeps']);
  for (const app of [awake, dozes]) await usesBoth(app);
  return { two, sleeps, awake, dozes };
}

async function usesBoth(app: SidecarProcess): Promise<number> {
  const startedMs = performance.now();
  const seen = new Set<unknown>();
  await eventually(
    `${app.id} is served by both`,
    async () => seen.add((await ask(app)).worker).size,
    (workers) => workers === 2,
  );
  return Math.round(performance.now() - startedMs);
}

describe('a host that slept for a minute', () => {
  test('a host that slept for a minute goes on at once, and is used again', async () => {
    const { two, sleeps, awake, dozes } = await fleet();
    const asleep = [sleeps.process, two.process, dozes.process];
    onTestEnd(() => {
      for (const process of asleep) process.signal('SIGCONT');
    });
    const before = await dozes.stats();
    for (const process of asleep) process.signal('SIGSTOP');
    const endMs = performance.now() + ASLEEP_MS;
    const samples: Sample[] = [];
    while (performance.now() < endMs) {
      samples.push(await ask(awake));
      await pause(50);
    }
    expectNamed(
      samples.filter(({ status }) => status !== 200),
      `of ${samples.length} requests while a worker's host slept`,
    ).toStrictEqual([]);
    const costly = samples.filter(({ tookMs }) => tookMs > FIRST_MS);
    note(`${samples.length} requests meanwhile, slow: ${costly.map(({ tookMs }) => tookMs)} ms`);
    expect(costly.length).toBeLessThanOrEqual(2);
    expect(costly.every(({ tookMs }) => tookMs < ASLEEP_COSTS_MS)).toBe(true);

    const wokenUnixMs = Date.now();
    for (const process of asleep) process.signal('SIGCONT');
    const first = await ask(dozes);
    note(`its first request after waking took ${first.tookMs} ms`);
    expectNamed(first.status, first.body).toBe(200);
    expect(first.tookMs).toBeLessThan(FIRST_MS);
    const used = await Promise.all([dozes, awake].map(usesBoth));
    note(`both workers are used after ${used.join(' and ')} ms by who slept and who did not`);
    expect(used.every((ms) => ms < USED_AGAIN_MS)).toBe(true);

    await pause(CALM_MS);
    const [own, others] = await Promise.all([dozes.stats(), awake.stats()]);
    const lookups = own.dht_lookups - before.dht_lookups;
    const lines = linesSince(dozes, wokenUnixMs);
    note(`${CALM_MS} ms after waking: ${lookups} lookups, ${lines.length} lines of log`);
    expectNamed(lookups, `${lookups} lookups`).toBeLessThanOrEqual(MAX_LOOKUPS);
    expectNamed(lines.length, lines.join('\n')).toBeGreaterThan(0);
    expectNamed(lines.length, lines.join('\n')).toBeLessThanOrEqual(MAX_LINES);
    const woke = lines.filter((line) => line.includes('parted from others for a while'));
    expectNamed(woke, 'it knows that it was away').toHaveLength(1);
    expect(own.failed_requests + others.failed_requests).toBe(0);
  });
});
