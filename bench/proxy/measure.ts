/**
 * How a case becomes a sample: one measurement of one system.
 *
 * CPU time is read from the kernel at the moments at which the generator says that what it counts begins and ends.
 */

import { setTimeout as pause } from 'node:timers/promises';
import {
  type AllocationCase,
  type HoldCase,
  type LoadCase,
  SATURATION_ARGS,
  SATURATION_PATH,
} from './cases.ts';
import type { Figures, Sample } from './figures.ts';
import { faultsOf, type LoadReport, runLoad } from './generator.ts';
import { type HeapUse, type HeapWatch, Probes } from './probe.ts';
import { cpuUs, rssMbOf, socketCount } from './process-stats.ts';
import { type System, type SystemPlace, startSystem, type Variant } from './systems.ts';

export interface MeasureOptions extends SystemPlace {
  /** The generator. */
  readonly load: string;
  readonly seconds: number;
}

/** What a sample says beside who and when. */
export type Measured = Pick<Sample, 'part' | 'figures' | 'faults'>;

/** Before each measurement: connections are made and known then. */
const SETTLE_SECONDS = 0.1;
/** JavaScript becomes fast only by and by. */
const WARM_UP_SECONDS = { compiled: 0.3, javascript: 3 };
/** Bytes per request hold still only over many collections. */
const LEAST_WATCHED_SECONDS = 2;
/** After the last connection is there, and before memory is read. */
const REST_MS = 1_000;
const US_PER_SECOND = 1_000_000;

/** Until it runs as it will go on running. */
export async function warmUp(system: System, options: MeasureOptions): Promise<void> {
  const isScript = system.name === 'sidecar' || system.name === 'http-proxy';
  await saturate(system, options, WARM_UP_SECONDS[isScript ? 'javascript' : 'compiled']);
}

function saturate(
  { port, prefix }: System,
  { bench, load }: MeasureOptions,
  seconds: number,
  hooks: { onBegin?(): void; onEnd?(): void } = {},
): Promise<LoadReport> {
  const path = prefix + SATURATION_PATH;
  return runLoad(bench, load, {
    ...hooks,
    ...{ mode: 'closed', port, path, args: SATURATION_ARGS, seconds, warmUpSeconds: 0 },
  });
}

export async function measureLoad(
  each: LoadCase,
  system: System,
  options: MeasureOptions,
  seconds = options.seconds,
): Promise<Measured> {
  const pids = pidsOf(system);
  const { origin } = options;
  let spent = { system: 0, ends: 0 };
  const now = (generator: number) => ({ system: cpuUs(pids), ends: cpuUs([generator, origin.pid]) });
  const report = await runLoad(options.bench, options.load, {
    mode: each.mode,
    port: system.port,
    path: system.prefix + each.path,
    args: each.args,
    seconds,
    warmUpSeconds: each.mode === 'once' ? 0 : SETTLE_SECONDS,
    onBegin(generator) {
      spent = now(generator);
    },
    onEnd(generator) {
      const at = now(generator);
      spent = { system: at.system - spent.system, ends: at.ends - spent.ends };
    },
  });
  const faults = faultsOf(report, each.expectedPerSecond, each.unit);
  const units = each.transferMb ?? report.count;
  // It never came to an end: nothing was measured.
  if (report.seconds === 0 || units === 0) return { part: '', figures: {}, faults };
  const rssMb = rssMbOf(pids);
  const onSystem: Figures =
    pids.length === 0
      ? {}
      : {
          cpuUs: spent.system / units,
          rssMb: rssMb.reduce((sum, mb) => sum + mb, 0),
          largestRssMb: Math.max(...rssMb),
          busyPercent: (100 * spent.system) / US_PER_SECOND / report.seconds,
        };
  const figures: Figures = {
    perSecond: units / report.seconds,
    p50Us: report.p50Us,
    p99Us: report.p99Us,
    endsBusyPercent: (100 * spent.ends) / US_PER_SECOND / report.seconds,
    ...onSystem,
  };
  return { part: '', figures, faults };
}

export async function measureHold(
  each: HoldCase,
  variant: Variant,
  options: MeasureOptions,
): Promise<Measured> {
  const system = await startSystem(variant, options);
  try {
    // What the first requests need is no cost of connections.
    await saturate(system, options, 1);
    await pause(REST_MS);
    const pids = pidsOf(system);
    const before = { rssMb: sum(rssMbOf(pids)), sockets: socketCount(pids) };
    let after = before;
    const report = await runLoad(options.bench, options.load, {
      mode: each.mode,
      port: system.port,
      path: system.prefix + each.path,
      args: ['-c', String(each.connections)],
      seconds: 0,
      warmUpSeconds: 0,
      async onBegin() {
        await pause(REST_MS);
        after = { rssMb: sum(rssMbOf(pids)), sockets: socketCount(pids) };
      },
    });
    const growthMb = after.rssMb - before.rssMb;
    const figures: Figures = {
      rssMb: after.rssMb,
      growthMb,
      growthKbEach: (growthMb * 1024) / each.connections,
      socketsEach: (after.sockets - before.sockets) / each.connections,
    };
    return { part: '', figures, faults: faultsOf(report, undefined, each.unit) };
  } finally {
    await system.stop();
  }
}

/** One for each sidecar. */
export async function measureAllocation(
  each: AllocationCase,
  variant: Variant,
  options: MeasureOptions,
): Promise<Measured[]> {
  const probes = new Probes(options.bench);
  const system = await startSystem(variant, options, probes.env);
  try {
    await warmUp(system, options);
    let watches: HeapWatch[] = [];
    let uses: Promise<(HeapUse & { pid: number })[]> = Promise.resolve([]);
    const report = await saturate(system, options, Math.max(options.seconds, LEAST_WATCHED_SECONDS), {
      onBegin() {
        watches = probes.begin();
      },
      onEnd() {
        uses = Promise.all(watches.map(async (watch) => ({ pid: watch.pid, ...(await watch.end()) })));
      },
    });
    const faults = faultsOf(report, undefined, each.unit);
    const told = await uses;
    return system.parts.map(({ name, pid }) => {
      const part = system.parts.length > 1 ? name : '';
      const use = told.find((one) => one.pid === pid);
      if (use === undefined) return { part, figures: {}, faults: 'no probe in it' };
      const figures: Figures = {
        allocatedBytes: use.allocatedBytes / report.count,
        scavengesPerSecond: use.scavenges / report.seconds,
        longestScavengeMs: use.longestScavengeMs,
        collectingPercent: use.collectingMs / 10 / report.seconds,
      };
      return { part, figures, faults };
    });
  } finally {
    await system.stop();
  }
}

function pidsOf(system: System): number[] {
  return system.parts.map(({ pid }) => pid);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
