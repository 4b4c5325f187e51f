/**
 * One chaos run: a fleet comes up, load runs, faults strike by plan, all is made whole, and what is left is read off.
 *
 * It must not judge what it saw (verdict).
 */
import { setTimeout as pause } from 'node:timers/promises';
import { gaugeSum, getJson, type Usage, usageOf } from './admin.ts';
import { type App, Fleet } from './fleet.ts';
import { Load } from './load.ts';
import { type ChaosEvent, CUTS, planChaos } from './plan.ts';
import { strike } from './strike.ts';
import { Tally } from './tally.ts';

export interface ChaosOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly workers: number;
  readonly apps: number;
  /** How long to wait, at most, for kept connections to be closed before files and memory are read. */
  readonly settleMs: number;
  say(line: string): void;
}

export interface AppUsage {
  readonly name: string;
  readonly before: Usage;
  readonly after: Usage;
}

export interface ChaosReport {
  readonly options: ChaosOptions;
  readonly tally: Tally;
  /** Those that struck; the others found too few sound workers, or no network that can be cut. */
  readonly events: readonly ChaosEvent[];
  readonly skipped: number;
  readonly crashes: readonly string[];
  /** Ids of POSTs that reached workers more than once. */
  readonly twice: readonly string[];
  readonly delivered: number;
  /** Sum of all gauges that count what is under way; 0 when all is over. NaN: a sidecar did not answer. */
  readonly leftInFlight: number;
  readonly usage: readonly AppUsage[];
  readonly seconds: number;
}

const WARM_MS = 3_000;
const CALM_MS = 1_500;
const PATIENCE_MS = 30_000;
const SHOWN_LINES = 40;

/** A probe or two that is under way when files are counted. */
export const SPARE_FILES = 5;

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { apps, say, seconds, seed, settleMs, workers } = options;
  const fleet = await Fleet.up(workers, apps);
  try {
    await untilReady(fleet, workers);
    say(`${workers} workers and ${apps} apps are up, each with its sidecar`);
    await warm(fleet, seed);
    const before = fleet.apps.map(({ sidecar }) => usageOf(sidecar.pid));
    const tally = new Tally();
    const load = new Load(fleet.apps, tally, seed);
    const startedMs = performance.now();
    load.start();
    const { events, skipped } = await strikeAll(fleet, planChaos(seed, workers, seconds * 1_000), say);
    await pause(Math.max(0, startedMs + seconds * 1_000 - performance.now()));
    const endedMs = performance.now();
    say(`load stops; ${load.inFlight} requests are under way`);
    await load.stop();
    await untilReady(fleet, workers, 'reported_state');
    const after = await settled(fleet, before, settleMs);
    const deliveries = fleet.deliveries();
    return {
      options,
      tally,
      events,
      skipped,
      crashes: fleet.crashes,
      twice: [...deliveries].filter(([, count]) => count > 1).map(([id]) => id),
      delivered: deliveries.size,
      leftInFlight: await leftInFlight(fleet),
      usage: fleet.apps.map(({ sidecar }, i) => ({
        name: sidecar.name,
        before: before[i] as Usage,
        after: after[i] as Usage,
      })),
      seconds: (endedMs - startedMs) / 1_000,
    };
  } finally {
    await fleet.down();
  }
}

/** Until each app would send to so many workers. */
async function untilReady(
  fleet: Fleet,
  workers: number,
  state: 'state' | 'reported_state' = 'state',
): Promise<void> {
  const probe = new Load(fleet.apps, new Tally(), 0);
  const limitMs = performance.now() + PATIENCE_MS;
  for (;;) {
    await probe.once();
    const ready = await Promise.all(fleet.apps.map((app) => fleet.readyAt(app, state)));
    if (ready.every(({ length }) => length >= workers)) return await probe.stop();
    if (performance.now() > limitMs) throw new Error(unready(fleet, ready));
    await pause(100);
  }
}

/** Who is missing, in the words of all who may know why. */
function unready(fleet: Fleet, ready: readonly (readonly string[])[]): string {
  const missing = fleet.hosts.filter(({ sidecar }) => ready.some((names) => !names.includes(sidecar.name)));
  const told = [...fleet.apps, ...missing].map(
    ({ sidecar }) => `${sidecar.name}:${sidecar.lastLines(SHOWN_LINES)}`,
  );
  return `after ${PATIENCE_MS} ms the apps know only ${ready.join(' | ')}\n${told.join('\n')}`;
}

/** So that code is compiled and pools are filled before memory and files are read. */
async function warm(fleet: Fleet, seed: number): Promise<void> {
  const load = new Load(fleet.apps, new Tally(), seed);
  load.start();
  await pause(WARM_MS);
  await load.stop();
  await pause(CALM_MS);
}

async function strikeAll(
  fleet: Fleet,
  plan: readonly ChaosEvent[],
  say: ChaosOptions['say'],
): Promise<{ events: ChaosEvent[]; skipped: number }> {
  const startedMs = performance.now();
  const events: ChaosEvent[] = [];
  const running: Promise<void>[] = [];
  const beingStruck = new Set<number>();
  for (const event of plan) {
    await pause(Math.max(0, startedMs + event.atMs - performance.now()));
    const names = event.targets.map((target) => `worker-${target + 1}`);
    const whom = names.join(', ') || (event.fault === 'suspend_app' ? 'app-1' : 'the DHT');
    const what = `${event.fault} of ${whom} for ${event.lastsMs} ms`;
    if (fleet.network.whyWhole !== null && CUTS.has(event.fault)) {
      say(`${at(startedMs)} skipped: ${what} (${fleet.network.whyWhole})`);
      continue;
    }
    // The machine may be slower than the plan: what is left alone must also be what works.
    const ready = await Promise.all(fleet.apps.map((app) => fleet.readyAt(app)));
    if (ready.some((seen) => !seen.some((name) => !names.includes(name)))) {
      say(`${at(startedMs)} skipped: ${what} (ready as the apps see it: ${ready.join(' | ')})`);
      continue;
    }
    if (event.targets.some((target) => beingStruck.has(target))) {
      say(`${at(startedMs)} skipped: ${what} (the last strike is not over yet)`);
      continue;
    }
    say(`${at(startedMs)} ${what}`);
    events.push(event);
    for (const target of event.targets) beingStruck.add(target);
    const struck = strike(fleet, event).then(() => {
      for (const target of event.targets) beingStruck.delete(target);
    });
    // Waited for below; when it fails first, nobody else would hear of it.
    struck.catch(() => {});
    running.push(struck);
  }
  await Promise.all(running);
  return { events, skipped: plan.length - events.length };
}

function at(startedMs: number): string {
  return `${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(5)} s`;
}

/**
 * Until no app has more open files than before, or the time is up. Read here, since asking for anything else opens
 * connections.
 */
async function settled(fleet: Fleet, before: readonly Usage[], settleMs: number): Promise<Usage[]> {
  const limitMs = performance.now() + settleMs;
  await pause(CALM_MS);
  for (;;) {
    const now = fleet.apps.map(({ sidecar }) => usageOf(sidecar.pid));
    const isSettled = now.every(({ files }, i) => files <= (before[i] as Usage).files + SPARE_FILES);
    if (isSettled || performance.now() > limitMs) return now;
    await pause(500);
  }
}

async function leftInFlight(fleet: Fleet): Promise<number> {
  const names = ['sidecar_requests_in_progress', 'sidecar_worker_in_flight', 'sidecar_worker_queued'];
  let left = 0;
  for (const { adminAt } of [...fleet.apps, ...fleet.hosts]) left += await gaugeSum(adminAt, ...names);
  for (const app of fleet.apps) left += await outstandingAt(app);
  return left;
}

async function outstandingAt({ adminAt }: App): Promise<number> {
  interface Peers {
    readonly peers: readonly {
      readonly figures: Readonly<Record<string, { readonly outstanding: number }>>;
    }[];
  }
  const answer = await getJson<Peers>(adminAt, '/peers');
  if (answer === null) return Number.NaN;
  return answer.peers
    .flatMap(({ figures }) => Object.values(figures))
    .reduce((sum, f) => sum + f.outstanding, 0);
}
