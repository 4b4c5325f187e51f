/**
 * The prober: asks peers that have been silent for their state, over the routes that requests would take.
 *
 * HTTP over the peer's own route instead of a ping, because that is what must work: it proves route, peer and
 * membership at once and brings back live figures. Only peers of services in use and only the longest
 * silent, so that the cost does not grow with the fleet. It must not know HTTP (`ask` is passed in) nor who
 * is chosen.
 */
import type { FingerCache } from '../core/finger-cache.ts';
import type { Peer, Route } from '../core/peer.ts';
import type { PeerTable } from '../core/peer-table.ts';
import { applyReport } from '../core/report.ts';
import { decodeState } from '../core/state-report.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

/** GET `path` at the peer by this route, as a member. Rejects when there is no authentic 200. */
export type Ask = (peer: Peer, route: Route, path: string, signal: AbortSignal) => Promise<Buffer>;

export interface ProberOptions {
  readonly table: PeerTable;
  readonly cache: Pick<FingerCache, 'inUse'>;
  readonly ask: Ask;
  /** The peer has started anew: its record is needed. Must not reject. */
  readonly refetch: (peer: Peer) => Promise<void>;
  /** Pause between two rounds of a service with up to `fewPeers` peers, and with more. */
  readonly fewIntervalMs: number;
  readonly manyIntervalMs: number;
  /** At least 300: a busy host answers late. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

const FEW_PEERS = 10;
/** Peers asked per service and round. */
const ACTIVE_SET = 32;
/** A peer that did not answer is asked once more after this. */
const SECOND_TRY_MS = 500;
const JITTER = 0.15;

export class Prober {
  readonly #o: ProberOptions;
  readonly #nextRoundMs = new Map<string, number>();
  readonly #probing = new Set<string>();
  /** Suspects whose second try has its time. */
  readonly #waiting = new Set<string>();
  readonly #routesProbing = new Set<Route>();
  readonly #cancels = new Set<() => void>();
  readonly #stop = new AbortController();

  constructor(options: ProberOptions) {
    this.#o = options;
  }

  start(): void {
    this.#tick();
  }

  /** Ends what runs; nothing is judged afterwards. */
  stop(): void {
    this.#stop.abort();
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #tick(): void {
    const { cache, clock, fewIntervalMs } = this.#o;
    const nowMs = clock.monotonicMs();
    const used = cache.inUse(nowMs);
    for (const service of used) {
      if (nowMs >= (this.#nextRoundMs.get(service) ?? nowMs)) this.#round(service, nowMs);
      // Also those that a request has found dead, which are not waited for until their round.
      for (const peer of this.#o.table.offering(service))
        if (peer.presence === 'suspect') this.#tryAgain(peer);
    }
    if (this.#nextRoundMs.size > used.length) {
      for (const service of this.#nextRoundMs.keys())
        if (!used.includes(service)) this.#nextRoundMs.delete(service);
    }
    this.#later(Math.min(250, fewIntervalMs / 4), () => this.#tick());
  }

  #round(service: string, nowMs: number): void {
    const { clock, fewIntervalMs, manyIntervalMs, random, table } = this.#o;
    const peers = table.offering(service);
    const intervalMs = peers.length <= FEW_PEERS ? fewIntervalMs : manyIntervalMs;
    this.#nextRoundMs.set(service, clock.monotonicMs() + intervalMs * (1 - JITTER + 2 * JITTER * random()));
    const silent = peers.filter(
      (peer) => peer.presence === 'live' && nowMs - peer.heardAtMs >= intervalMs / 2,
    );
    silent.sort((a, b) => a.heardAtMs - b.heardAtMs);
    for (const peer of silent.slice(0, ACTIVE_SET)) void this.#probe(peer);
    let routes = 0;
    for (const peer of peers) {
      for (const route of peer.routes) {
        if (routes >= ACTIVE_SET || !route.health.probeDue(nowMs) || this.#routesProbing.has(route)) continue;
        routes += 1;
        void this.#askOver(peer, route);
      }
    }
  }

  #tryAgain(peer: Peer): void {
    if (this.#waiting.has(peer.key) || this.#probing.has(peer.key)) return;
    this.#waiting.add(peer.key);
    this.#later(SECOND_TRY_MS, () => {
      this.#waiting.delete(peer.key);
      void this.#probe(peer);
    });
  }

  /** Never rejects. By each usable route in turn; only when none answers, the peer has missed. */
  async #probe(peer: Peer): Promise<void> {
    if (this.#probing.has(peer.key) || this.#o.table.get(peer.key) !== peer) return;
    this.#probing.add(peer.key);
    const startedMs = this.#o.clock.monotonicMs();
    let answered = false;
    try {
      const usable = peer.routes.filter((route) => route.health.usable(startedMs));
      for (const route of usable.length > 0 ? usable : peer.routes) {
        answered = await this.#askOver(peer, route);
        if (answered || this.#stop.signal.aborted) break;
      }
    } finally {
      this.#probing.delete(peer.key);
    }
    // Heard from by a response in the meantime: nothing to hold against it.
    if (!answered && peer.routes.length > 0 && peer.heardAtMs < startedMs) this.#missed(peer);
  }

  #missed(peer: Peer): void {
    const { clock, log, table } = this.#o;
    if (this.#stop.signal.aborted || table.get(peer.key) !== peer) return;
    const verdict = table.missed(peer.key, clock.monotonicMs());
    const fields = { worker: peer.record.worker_id, peer: peer.key };
    if (verdict === 'evicted') log.info(fields, 'a peer is gone');
    else {
      log.debug(fields, 'a peer does not answer; asking once more');
      this.#tryAgain(peer);
    }
  }

  /** Never rejects. The answer is judged here, the silence of a peer as a whole is not. */
  async #askOver(peer: Peer, route: Route): Promise<boolean> {
    const { clock, timeoutMs } = this.#o;
    const startedMs = clock.monotonicMs();
    const timeout = new AbortController();
    const cancel = this.#later(timeoutMs, () => timeout.abort(new Error(`no answer within ${timeoutMs} ms`)));
    this.#routesProbing.add(route);
    route.health.tried(startedMs);
    try {
      const signal = AbortSignal.any([timeout.signal, this.#stop.signal]);
      const body = await this.#o.ask(peer, route, '/state', signal);
      if (this.#stop.signal.aborted) return false;
      const nowMs = clock.monotonicMs();
      route.health.succeeded(nowMs);
      route.health.measured(nowMs - startedMs);
      this.#o.table.heard(peer.key, nowMs);
      this.#take(peer, body, nowMs);
      return true;
    } catch {
      if (!this.#stop.signal.aborted) route.health.failed(clock.monotonicMs());
      return false;
    } finally {
      this.#routesProbing.delete(route);
      cancel();
    }
  }

  #take(peer: Peer, body: Buffer, nowMs: number): void {
    const reports = decodeState(parseJson(body));
    if (reports === null) {
      this.#o.log.debug({ peer: peer.key }, 'a peer answered a probe with something else');
      return;
    }
    let restarted = false;
    for (const report of reports) {
      if (applyReport(peer, report, 'probe', nowMs) === 'restarted') restarted = true;
    }
    if (restarted) void this.#o.refetch(peer);
  }

  #later(delayMs: number, run: () => void): () => void {
    if (this.#stop.signal.aborted) return () => {};
    const cancel = this.#o.clock.after(delayMs, () => {
      this.#cancels.delete(both);
      run();
    });
    const both = (): void => {
      cancel();
      this.#cancels.delete(both);
    };
    this.#cancels.add(both);
    return both;
  }
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
