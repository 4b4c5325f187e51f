/**
 * The prober: asks peers that have been silent for their state, over the routes that requests would take.
 *
 * HTTP over the peer's own route instead of a ping, because that is what must work: it proves route, peer and
 * membership at once and brings back live figures. Only peers of services in use and only the longest silent, so that
 * the cost does not grow with the fleet; and at once, when a request doubts its route.
 */
import type { FingerCache } from '../../core/peers/finger-cache.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { FailedProbe } from '../../core/peers/peer-table.ts';
import type { Route } from '../../core/peers/route.ts';
import { RouteProbe, type RouteProbeOptions, type RouteVerdict } from './route-probe.ts';

export interface ProberOptions extends RouteProbeOptions {
  readonly cache: Pick<FingerCache, 'inUse'>;
  /** Pause between two rounds of a service with up to `fewPeers` peers, and with more. */
  readonly fewIntervalMs: number;
  readonly manyIntervalMs: number;
  /** [0, 1). */
  readonly random: () => number;
}

const FEW_PEERS = 10;

/** Peers asked per service and round. */
const ACTIVE_SET = 32;

/** A peer that did not answer is asked once more after this. */
const SECOND_TRY_MS = 500;
const JITTER = 0.15;

/** One that is gone is sought at growing intervals, for so long: a host that was cut off comes back the same. */
const SEEK_FIRST_MS = 1_000;
const SEEK_GROWTH = 1.5;
const SEEK_LIMIT_MS = 60_000;

/** A peer that is warming is asked so often: somebody waits for it to be ready. */
const WARMING_INTERVAL_MS = 1_000;

/** A route that requests do not take is proved so often, so that it is known, and warm, when it is needed. */
const STANDBY_INTERVAL_MS = 30_000;

/** Of those, so many per service and round. */
const STANDBY_ROUTES = 2;

/** Live peers asked at once when one falls silent: does anybody answer us? */
const WITNESSES = 3;

export class Prober {
  readonly #options: ProberOptions;
  readonly #nextRoundMs = new Map<string, number>();
  /** By key, until it has its response. */
  readonly #probing = new Map<string, Promise<void>>();
  /** Suspects whose second try has its time. */
  readonly #waiting = new Set<string>();
  readonly #routes: RouteProbe;
  readonly #cancels = new Set<() => void>();
  readonly #stop = new AbortController();

  constructor(options: ProberOptions) {
    this.#options = options;
    this.#routes = new RouteProbe(options);
  }

  start(): void {
    this.#tick();
  }

  /** Ends what runs; nothing is judged afterwards. */
  stop(): void {
    this.#stop.abort();
    this.#routes.stop();
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #tick(): void {
    const { cache, clock, fewIntervalMs } = this.#options;
    const nowMs = clock.monotonicMs();
    const used = cache.inUse(nowMs);
    for (const service of used) {
      if (nowMs >= (this.#nextRoundMs.get(service) ?? nowMs)) this.#round(service, nowMs);
      // Also those that a request has found dead, which are not waited for until their round.
      this.#askAnxiously(service, nowMs);
    }
    if (this.#nextRoundMs.size > used.length) {
      for (const service of this.#nextRoundMs.keys())
        if (!used.includes(service)) this.#nextRoundMs.delete(service);
    }
    this.#later(Math.min(250, fewIntervalMs / 4), () => this.#tick());
  }

  #askAnxiously(service: string, nowMs: number): void {
    let warming = 0;
    for (const peer of this.#options.table.offering(service)) {
      if (peer.presence === 'suspect') this.#tryAgain(peer);
      else if (peer.state === 'warming' && nowMs - peer.heardAtMs >= WARMING_INTERVAL_MS) {
        if (warming++ < ACTIVE_SET) void this.#probe(peer);
      }
    }
  }

  #round(service: string, nowMs: number): void {
    const { clock, fewIntervalMs, manyIntervalMs, random, table } = this.#options;
    const peers = table.offering(service);
    const intervalMs = peers.length <= FEW_PEERS ? fewIntervalMs : manyIntervalMs;
    this.#nextRoundMs.set(service, clock.monotonicMs() + intervalMs * (1 - JITTER + 2 * JITTER * random()));
    const silent = peers.filter(
      (peer) => peer.presence === 'live' && nowMs - peer.heardAtMs >= intervalMs / 2,
    );
    silent.sort((a, b) => a.heardAtMs - b.heardAtMs);
    for (const peer of silent.slice(0, ACTIVE_SET)) void this.#probe(peer);
    let down = 0;
    let standby = 0;
    for (const peer of peers) {
      for (const route of peer.routes) {
        if (route.health.isUp) {
          const isDue = route !== peer.routes[0] && nowMs - route.health.heardAtMs >= STANDBY_INTERVAL_MS;
          if (!isDue || standby++ >= STANDBY_ROUTES) continue;
        } else if (!route.health.probeDue(nowMs) || down++ >= ACTIVE_SET) continue;
        void this.#routes.ask(peer, route);
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

  /**
   * Whether the peer answers over this route now: for a request that waits there for longer than it takes to
   * answer. Who asks while one is on its way shares its response. Never rejects.
   */
  async responds(peer: Peer, route: Route): Promise<boolean> {
    return (await this.#routes.ask(peer, route)) === 'answered';
  }

  /** Whether the peer can be reached, over any of its routes; told as soon as one has answered. Never rejects. */
  prove(peer: Peer): Promise<boolean> {
    const asked = peer.routes.map(async (route) => {
      if ((await this.#routes.ask(peer, route)) !== 'answered') throw new Error('silent');
    });
    return Promise.any(asked).then(
      () => true,
      () => false,
    );
  }

  /** Routes of a kind that was not there before lead to peers: each is tried now. */
  lookAtRoutes(kind: Route['kind']): void {
    let asked = 0;
    for (const peer of this.#options.table.all()) {
      for (const route of peer.routes) {
        if (route.kind === kind && asked++ < ACTIVE_SET) void this.#routes.ask(peer, route);
      }
    }
  }

  /** A request found nothing but silence at the other end of this route. */
  silent(route: Route): void {
    this.#routes.silent(route);
  }

  /** How those that are warming are now, for a request that has nobody else. Never rejects. */
  async askWarming(service: string): Promise<void> {
    const warming = this.#options.table.offering(service).filter(({ state }) => state === 'warming');
    await Promise.all(warming.slice(0, ACTIVE_SET).map((peer) => this.#probe(peer)));
  }

  /** Never rejects. By each usable route in turn; only when none answers, the peer has missed. */
  async #probe(peer: Peer): Promise<void> {
    const running = this.#probing.get(peer.key);
    if (running !== undefined || this.#options.table.get(peer.key) !== peer) return await running;
    let ended = (): void => {};
    this.#probing.set(
      peer.key,
      new Promise((resolve) => {
        ended = resolve;
      }),
    );
    const { clock, table } = this.#options;
    const startedMs = clock.monotonicMs();
    const isConfirmedByOthers = table.isConfirmedByOthers(peer);
    let verdict: RouteVerdict = 'silent';
    let isRefused = peer.routes.length > 0;
    try {
      const usable = peer.routes.filter((route) => route.health.usable(startedMs));
      for (const route of usable.length > 0 ? usable : peer.routes) {
        verdict = await this.#routes.ask(peer, route);
        isRefused &&= verdict === 'refused';
        if (verdict === 'answered' || this.#stop.signal.aborted) break;
      }
    } finally {
      this.#probing.delete(peer.key);
      ended();
    }
    // Heard from by a response in the meantime: nothing to hold against it.
    if (verdict !== 'answered' && peer.routes.length > 0 && peer.heardAtMs < startedMs) {
      this.#missed(peer, { isRefused, isConfirmedByOthers });
    }
  }

  #missed(peer: Peer, miss: FailedProbe): void {
    const { clock, log, table } = this.#options;
    if (this.#stop.signal.aborted || table.get(peer.key) !== peer) return;
    const verdict = table.probeFailed(peer.key, clock.monotonicMs(), miss);
    const fields = { worker: peer.record.worker_id, peer: peer.key };
    if (verdict === 'evicted') {
      log.info(fields, 'a peer is gone');
      this.#seek(peer, SEEK_FIRST_MS);
    } else {
      log.debug(fields, 'a peer does not answer; asking once more');
      this.#askWitnesses(peer);
      this.#tryAgain(peer);
    }
  }

  #seek(gone: Peer, afterMs: number): void {
    if (afterMs > SEEK_LIMIT_MS) return;
    this.#later(afterMs, () => void this.#seekNow(gone, afterMs * SEEK_GROWTH));
  }

  /** Never rejects. */
  async #seekNow(gone: Peer, nextMs: number): Promise<void> {
    const { log, refetch, table } = this.#options;
    for (const route of gone.routes) {
      // Others may have brought it back; or it said good-bye, and would refuse a record.
      if (this.#stop.signal.aborted || table.get(gone.key) !== undefined) return;
      if ((await this.#routes.ask(gone, route)) !== 'answered') continue;
      log.info({ worker: gone.record.worker_id, peer: gone.key }, 'a peer that was gone answers again');
      return await refetch(gone);
    }
    this.#seek(gone, nextMs);
  }

  /** Of those that were heard last, who most likely answers if our own network is well. */
  #askWitnesses(suspect: Peer): void {
    if (this.#options.table.isConfirmedByOthers(suspect)) return;
    const others = [...this.#options.table.all()].filter(
      (peer) => peer !== suspect && peer.presence === 'live',
    );
    others.sort((a, b) => b.heardAtMs - a.heardAtMs);
    for (const peer of others.slice(0, WITNESSES)) void this.#probe(peer);
  }

  #later(delayMs: number, run: () => void): () => void {
    if (this.#stop.signal.aborted) return () => {};
    const cancel = this.#options.clock.after(delayMs, () => {
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
