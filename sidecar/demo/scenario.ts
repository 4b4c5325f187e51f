/**
 * The plot of the demo: start the mesh, send traffic, kill a worker half-way, bring it back, end everything.
 *
 * The one place that knows when what happens; it ends with no process left, whatever happens.
 */
import { Comeback } from './comeback.ts';
import type { DemoMesh } from './mesh.ts';
import type { MeshWorker } from './mesh-worker.ts';
import { ScenarioClock } from './scenario-clock.ts';
import { type DemoSummary, makeSummary } from './summary.ts';
import { Tally } from './tally.ts';
import { Traffic } from './traffic.ts';
import { type DemoView, Watch } from './watch.ts';

/** Where it is shown. */
export interface Stage {
  /** Something happens, in a sentence. */
  scene(text: string): void;
  show(view: DemoView): void;
}

export interface ScenarioOptions {
  readonly mesh: DemoMesh;
  readonly seconds: number;
  /** Ends it at once. */
  readonly end: AbortSignal;
  readonly stage: Stage;
  readonly tickMs: number;
}

/** Of the time for traffic: when the worker dies, and when it is started again. */
const KILL_AT = 0.5;
const RESTART_AT = 0.65;

/** How much longer than asked traffic goes on, until the worker that came back is used. */
const MAX_OVERTIME_MS = 20_000;
const USERS_PER_WORKER = 2;
const MORE_USERS = 2;

/** Rejects when something does not start, or with the reason of `end`. */
export async function playDemo({ end, mesh, seconds, stage, tickMs }: ScenarioOptions): Promise<DemoSummary> {
  const clock = new ScenarioClock(end);
  const { workers } = mesh;
  const victim = workers.length > 1 ? workers[0] : undefined;
  const comeback = new Comeback(victim?.traits.id ?? null, () => clock.elapsedMs);
  let traffic: Traffic | null = null;
  let watch: Watch | null = null;
  try {
    const pairs =
      workers.length === 1 ? '1 worker with its sidecar' : `${workers.length} workers with a sidecar each`;
    stage.scene(`starting a bootstrap node, ${pairs}, and a sidecar for the app`);
    const { admin, outbound } = await clock.race(mesh.start());
    stage.scene(`all up after ${clock.seconds} s; the app begins`);
    clock.restart();
    const tally = new Tally();
    const users = USERS_PER_WORKER * workers.length + MORE_USERS;
    traffic = new Traffic({ outbound, users, tally, onAnswer: (worker) => comeback.answered(worker) });
    watch = new Watch({
      admin,
      workers,
      tally,
      clock,
      intervalMs: tickMs,
      onView: (view) => stage.show(view),
    });
    traffic.start();
    watch.open();
    if (victim !== undefined) await killAndRestart(victim, comeback, { mesh, clock, seconds, stage });
    await clock.until(seconds * 1_000);
    await overtime(comeback, clock, stage);
    await clock.race(traffic.stop());
    const lastedMs = clock.elapsedMs;
    const stats = await clock.race(watch.stats());
    watch.close();
    await clock.race(mesh.stop());
    return makeSummary({ tally, comeback, stats, lastedMs });
  } finally {
    watch?.close();
    await Promise.all([mesh.killAll(), traffic?.cut()]);
  }
}

async function killAndRestart(
  victim: MeshWorker,
  comeback: Comeback,
  {
    clock,
    mesh,
    seconds,
    stage,
  }: Pick<ScenarioOptions, 'mesh' | 'seconds' | 'stage'> & { clock: ScenarioClock },
): Promise<void> {
  const { id } = victim.traits;
  await clock.until(seconds * 1_000 * KILL_AT);
  stage.scene(`${clock.seconds} s: SIGKILL to ${id} and its sidecar`);
  comeback.killed();
  await clock.race(mesh.kill(victim));
  await clock.until(seconds * 1_000 * RESTART_AT);
  stage.scene(`${clock.seconds} s: ${id} and its sidecar are started again`);
  comeback.restarting();
  await clock.race(mesh.restart(victim));
}

/** A worker that came back late still gets its chance. */
async function overtime(comeback: Comeback, clock: ScenarioClock, stage: Stage): Promise<void> {
  if (comeback.workerId === null) return;
  await Promise.race([comeback.isUsed, clock.until(clock.elapsedMs + MAX_OVERTIME_MS)]);
  if (comeback.usedAfterMs !== null) return;
  stage.scene(`${clock.seconds} s: ${comeback.workerId} is up and was not used again`);
}
