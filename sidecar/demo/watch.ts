/**
 * What can be seen of the demo at one moment, and the watch that looks at intervals.
 *
 * It asks the admin port of the app's sidecar, as an operator would: what is shown of the workers is what the mesh
 * knows of them, not what the demo has set.
 */
import { type AskAdmin, adminClient } from '../commands/admin-client.ts';
import type { HostPort } from '../core/host-port.ts';
import { fields, items, numberOf, textOf } from '../core/json.ts';
import type { MeshWorker, WorkerLife } from './mesh-worker.ts';
import type { ScenarioClock } from './scenario-clock.ts';
import { FORWARDED_KINDS, type Tally } from './tally.ts';

export interface WorkerView {
  readonly id: string;
  readonly life: WorkerLife;
  readonly workMs: number;
  /** Answers that the app got from it. */
  readonly answers: number;
  /** As the app's sidecar sees it: state, load 0..1, requests it has there now. Null: not known there. */
  readonly seen: {
    readonly state: string;
    readonly load: number | null;
    readonly outstanding: number;
  } | null;
}

export interface DemoView {
  readonly seconds: number;
  readonly requests: number;
  readonly failed: number;
  /** 0..1; null before the first response of the admin port. */
  readonly cacheHitRate: number | null;
  readonly dhtLookups: number | null;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly workers: readonly WorkerView[];
}

export interface WatchOptions {
  readonly admin: HostPort;
  readonly workers: readonly MeshWorker[];
  readonly tally: Tally;
  readonly clock: ScenarioClock;
  readonly intervalMs: number;
  readonly onView: (view: DemoView) => void;
}

export class Watch {
  readonly #options: WatchOptions;
  readonly #ask: AskAdmin;
  #timer: NodeJS.Timeout | null = null;
  #isOpen = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#ask = adminClient(options.admin);
  }

  open(): void {
    this.#isOpen = true;
    void this.#look();
  }

  /** Nothing is shown afterwards. */
  close(): void {
    this.#isOpen = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** The body of /stats. */
  async stats(): Promise<Readonly<Record<string, unknown>>> {
    return fields((await this.#ask('/stats')).body);
  }

  async #look(): Promise<void> {
    const answers = await Promise.all([this.stats(), this.#ask('/peers')]).catch(() => null);
    if (!this.#isOpen) return;
    // An admin port that does not answer leaves gaps in the view; the app's sidecar is not held up by it.
    const [stats, peers] = answers ?? [{}, { body: {} }];
    this.#options.onView(this.#view(stats, items(fields(peers.body).peers).map(fields)));
    this.#timer = setTimeout(() => void this.#look(), this.#options.intervalMs);
  }

  #view(
    stats: Readonly<Record<string, unknown>>,
    peers: readonly Readonly<Record<string, unknown>>[],
  ): DemoView {
    const { clock, tally, workers } = this.#options;
    return {
      seconds: clock.elapsedMs / 1000,
      requests: tally.requests,
      failed: tally.failed,
      cacheHitRate: numberOf(stats.cache_hit_rate),
      dhtLookups: numberOf(stats.dht_lookups),
      p50Ms: tally.percentileMs(0.5, FORWARDED_KINDS),
      p99Ms: tally.percentileMs(0.99, FORWARDED_KINDS),
      workers: workers.map(({ life, traits: { id, workMs } }) => {
        const peer = peers.find((each) => each.worker_id === id);
        return { id, life, workMs, answers: tally.of(id), seen: peer === undefined ? null : seenOf(peer) };
      }),
    };
  }
}

function seenOf(peer: Readonly<Record<string, unknown>>): NonNullable<WorkerView['seen']> {
  const figures = Object.values(fields(peer.figures)).map(fields);
  return {
    state: textOf(peer.state),
    load: numberOf(peer.load),
    outstanding: figures.reduce((sum, each) => sum + (numberOf(each.outstanding) ?? 0), 0),
  };
}
