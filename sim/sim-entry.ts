/**
 * An entry: a sidecar without a worker, through which an app calls. The real table, balancer and reports.
 *
 * Does what proxy/outbound does around them: counts when it sends, applies what answers say, chooses again twice
 * when a queue is longer than expected, takes back what has its turn sooner elsewhere, goes on when nobody is there,
 * and probes those not heard from. It must not know how a policy decides.
 */
import { Balancer, type PolicyName } from '../sidecar/core/balancing/balancer.ts';
import { type QueuedRequest, QueuedRequests } from '../sidecar/core/balancing/queued-requests.ts';
import { begin, finish } from '../sidecar/core/peers/accounting.ts';
import { applyReport } from '../sidecar/core/peers/load-report.ts';
import type { Peer } from '../sidecar/core/peers/peer.ts';
import { PeerTable } from '../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../sidecar/core/peers/record.ts';
import type { Random } from './random.ts';
import { type Answer, type Job, SERVICE, type SimWorker } from './sim-worker.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** The product's policies; `leastconn`: of all, the one with the fewest requests of mine, as HAProxy counts. */
export type SimPolicy = PolicyName | 'leastconn';

export interface SimEntryOptions {
  readonly name: string;
  readonly policy: SimPolicy;
  /** The workers that this entry knows. */
  readonly view: readonly { readonly index: number; readonly worker: SimWorker }[];
  readonly clock: VirtualClock;
  readonly random: Random;
  /** One way between two sidecars; each message takes this and up to as much again. */
  readonly networkMs: number;
}

export type SimOutcome = 'served' | 'failed';

const TTL_MS = 60_000;
const MAX_REROUTES = 2;
const MAX_MOVES = 1;

/** As the prober: of so many peers the silent ones are asked so often. */
const FEW_PEERS = 10;
const FEW_INTERVAL_MS = 2_000;
const MANY_INTERVAL_MS = 5_000;

interface Attempt {
  readonly workMs: number;
  readonly sinceMs: number;
  readonly onEnd: (outcome: SimOutcome) => void;
  readonly tried: Set<string>;
  reroutes: number;
  moves: number;
  /** Where it is to go when it comes back. */
  moveTo: Peer | null;
}

interface SimWaiter extends QueuedRequest {
  readonly attempt: Attempt;
  readonly job: Job;
}

export class SimEntry {
  readonly #o: SimEntryOptions;
  readonly #table = new PeerTable({ ttlMs: TTL_MS, evictionBanMs: 30_000 });
  readonly #balancer: Balancer | null;
  readonly #workers = new Map<string, SimWorker>();
  /** Requests that were sent back to choose again. */
  rerouted = 0;
  /** Requests that were asked back from a queue, and those of them that came. */
  asked = 0;
  moved = 0;
  readonly #waiting = new QueuedRequests<SimWaiter>();

  constructor(options: SimEntryOptions) {
    this.#o = options;
    const { policy, view, clock } = options;
    this.#balancer = policy === 'leastconn' ? null : new Balancer(policy, { ttlMs: TTL_MS });
    for (const { index, worker } of view) {
      const record = recordOf(index, worker);
      this.#table.apply(record, 'probe', clock.nowMs);
      this.#workers.set(record.public_key, worker);
    }
  }

  /** Probes for as long as `isOpen`. */
  start(isOpen: () => boolean): void {
    const { clock, random, view } = this.#o;
    const intervalMs = view.length <= FEW_PEERS ? FEW_INTERVAL_MS : MANY_INTERVAL_MS;
    const round = (): void => {
      if (!isOpen()) return;
      for (const peer of this.#table.all()) {
        if (clock.nowMs - peer.heardAtMs >= intervalMs / 2) this.#probe(peer);
      }
      clock.after(intervalMs * (0.9 + 0.2 * random.next()), round);
    };
    clock.after(intervalMs * random.next(), round);
  }

  send(workMs: number, onEnd: (outcome: SimOutcome) => void): void {
    const sinceMs = this.#o.clock.nowMs;
    this.#attempt({ workMs, sinceMs, onEnd, tried: new Set(), reroutes: 0, moves: 0, moveTo: null });
  }

  #attempt(attempt: Attempt): void {
    const { clock, name } = this.#o;
    const chosen = this.#choose(attempt);
    if (chosen === null) {
      attempt.onEnd('failed');
      return;
    }
    const { peer, expectedQueue } = chosen;
    const endpoint = peer.endpoint(SERVICE);
    const worker = this.#workers.get(peer.key);
    if (endpoint === undefined || worker === undefined) throw new Error('a peer that is not of this view');
    begin(endpoint, clock.nowMs);
    attempt.tried.add(peer.key);
    attempt.moveTo = null;
    const job: Job = {
      caller: name,
      workMs: attempt.workMs,
      sinceMs: attempt.sinceMs,
      expectedQueue: attempt.reroutes < MAX_REROUTES ? expectedQueue : null,
      onAnswer: (answer) =>
        clock.after(this.#delayMs(), () => {
          this.#waiting.remove(waiter);
          this.#answered(attempt, peer, answer);
        }),
    };
    const waiter = { service: SERVICE, peerKey: peer.key, sinceMs: attempt.sinceMs, attempt, job };
    const isPatient = attempt.reroutes >= MAX_REROUTES;
    const isQueued = expectedQueue !== null && (expectedQueue > 0 || isPatient);
    if (isQueued && attempt.moves < MAX_MOVES) this.#waiting.add(waiter);
    clock.after(this.#delayMs(), () => worker.arrive(job));
  }

  /** `peer` has said how it is: one of mine may have its turn there sooner than where it waits. */
  #move(peer: Peer, endingSlots: number): void {
    const endpoint = peer.endpoint(SERVICE);
    const waiter =
      endpoint === undefined ? null : this.#waiting.soonerAt(endpoint, this.#o.clock.nowMs, endingSlots);
    if (waiter === null) return;
    this.asked += 1;
    waiter.attempt.moveTo = peer;
    this.#o.clock.after(this.#delayMs(), () => this.#workers.get(waiter.peerKey)?.takeBack(waiter.job));
  }

  #choose({ tried, moveTo }: Attempt): { peer: Peer; expectedQueue: number | null } | null {
    if (moveTo !== null) return { peer: moveTo, expectedQueue: null };
    const peers = this.#table.offering(SERVICE);
    const { clock, random } = this.#o;
    if (this.#balancer === null) return fewestOf(peers, tried, random);
    const choice = this.#balancer.choose(peers, {
      service: SERVICE,
      nowMs: clock.nowMs,
      random: () => random.next(),
      excluded: tried,
      affinityKey: null,
    });
    return choice.kind === 'chosen' ? choice : null;
  }

  #answered(attempt: Attempt, peer: Peer, answer: Answer): void {
    const { nowMs } = this.#o.clock;
    const endpoint = peer.endpoint(SERVICE);
    if (endpoint === undefined) throw new Error('the service is gone');
    if (answer.kind === 'unreachable') {
      finish(endpoint, 'failed', nowMs);
      peer.presence = 'suspect';
      this.#attempt(attempt);
      return;
    }
    this.#heard(peer, answer.report, 'response');
    if (answer.kind !== 'refused') {
      finish(endpoint, answer.kind === 'served' ? 'served' : 'failed', nowMs);
      attempt.onEnd(answer.kind === 'served' ? 'served' : 'failed');
      return;
    }
    finish(endpoint, 'refused', nowMs);
    if (attempt.moveTo !== null) {
      attempt.tried.delete(peer.key);
      attempt.moves += 1;
      this.moved += 1;
      this.#attempt(attempt);
      return;
    }
    if (attempt.reroutes < MAX_REROUTES) attempt.tried.delete(peer.key);
    attempt.reroutes += 1;
    this.rerouted += 1;
    this.#attempt(attempt);
  }

  #probe(peer: Peer): void {
    const { clock, name } = this.#o;
    const worker = this.#workers.get(peer.key);
    if (worker === undefined) return;
    clock.after(this.#delayMs(), () => {
      const { broken } = worker.spec;
      const isDown =
        broken !== undefined &&
        broken.how !== 'error' &&
        clock.nowMs >= broken.fromMs &&
        clock.nowMs < broken.toMs;
      if (isDown) return;
      const report = worker.report(name);
      clock.after(this.#delayMs(), () => this.#heard(peer, report, 'probe'));
    });
  }

  #heard(peer: Peer, report: ReturnType<SimWorker['report']>, source: 'probe' | 'response'): void {
    const { nowMs } = this.#o.clock;
    this.#table.markAlive(peer.key, nowMs);
    applyReport(peer, report, source, nowMs);
    this.#move(peer, source === 'response' ? 1 : 0);
  }

  #delayMs(): number {
    return this.#o.networkMs * (1 + this.#o.random.next());
  }
}

function fewestOf(
  peers: readonly Peer[],
  tried: ReadonlySet<string>,
  random: Random,
): { peer: Peer; expectedQueue: null } | null {
  let best: Peer | null = null;
  let fewest = Number.POSITIVE_INFINITY;
  const from = random.index(peers.length);
  for (let i = 0; i < peers.length; i++) {
    const peer = peers[(from + i) % peers.length] as Peer;
    const mine = peer.endpoint(SERVICE)?.outstanding ?? 0;
    if (mine >= fewest || tried.has(peer.key)) continue;
    best = peer;
    fewest = mine;
  }
  return best === null ? null : { peer: best, expectedQueue: null };
}

function recordOf(index: number, worker: SimWorker): WorkerRecord {
  return {
    worker_id: `worker-${index}`,
    vpn_ip: `10.42.${index >> 8}.${index & 255}`,
    tunnel_url: null,
    services: [SERVICE],
    capabilities: {},
    load: 0,
    last_seen: 0,
    public_key: ((index + 1) * 0x9e3779b1).toString(16).padStart(16, '0').repeat(4),
    epoch: 1,
    seq: 0,
    revision: 0,
    state: 'ready',
    inbound_port: 8000,
    figures: {
      [SERVICE]: { in_flight: 0, concurrency: worker.spec.slots, queued: 0, service_ms: null },
    },
  };
}
