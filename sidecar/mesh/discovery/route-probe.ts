/**
 * One question to a peer over one route: how are you? What the response, or its absence, says of that route.
 *
 * Asked by the prober in its rounds and by requests that wait for too long; who asks while a question is on its way
 * shares its response.
 */
import { isRefusedConnection } from '../../core/errors.ts';
import { parseJson } from '../../core/json.ts';
import type { Log } from '../../core/log.ts';
import { applyReport } from '../../core/peers/load-report.ts';
import type { Peer } from '../../core/peers/peer.ts';
import { decodePeerState, decodeReason, decodeRevision } from '../../core/peers/peer-state.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { Route } from '../../core/peers/route.ts';
import type { Clock } from '../clock.ts';

/** GET `path` at the peer by this route, as a member. Rejects when there is no authentic 200. */
export type Ask = (peer: Peer, route: Route, path: string, signal: AbortSignal) => Promise<Buffer>;

export interface RouteProbeOptions {
  readonly table: PeerTable;
  readonly ask: Ask;
  /** The peer has started anew, or its record has changed: it is needed. Must not reject. */
  readonly refetch: (peer: Peer) => Promise<void>;
  /** At least 300: a busy host answers late. */
  readonly timeoutMs: number;
  /** For a tunnel that was never measured: its edge may be far, and TLS takes several round trips. */
  readonly tunnelTimeoutMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** `refused`: its host says that nobody listens there. */
export type RouteVerdict = 'answered' | 'silent' | 'refused';

/** Peers whose VPN is looked at when that of another one fails. */
const MAX_DOUBTED = 64;

/** A measured route may take so many times longer than on the average. */
const SLOWER_THAN_USUAL = 8;

/** A route heard so short a time ago is in no doubt. */
const PROVED_MS = 200;

export class RouteProbe {
  readonly #options: RouteProbeOptions;
  readonly #running = new Map<Route, Promise<RouteVerdict>>();
  readonly #stop = new AbortController();

  constructor(options: RouteProbeOptions) {
    this.#options = options;
  }

  /** Ends what runs; nothing is judged afterwards. */
  stop(): void {
    this.#stop.abort();
  }

  /** Never rejects. */
  ask(peer: Peer, route: Route): Promise<RouteVerdict> {
    if (this.#stop.signal.aborted) return Promise.resolve('silent');
    const running = this.#running.get(route);
    if (running !== undefined) return running;
    const asked = this.#ask(peer, route).finally(() => this.#running.delete(route));
    this.#running.set(route, asked);
    return asked;
  }

  /**
   * Nothing came back over this route. Silence over one VPN address may be that of our own VPN: asked of all at
   * once, it costs requests nothing.
   */
  silent({ kind }: Route): void {
    if (kind !== 'vpn' || this.#stop.signal.aborted) return;
    const provedMs = this.#options.clock.monotonicMs() - PROVED_MS;
    let doubted = 0;
    for (const peer of this.#options.table.all()) {
      for (const route of peer.routes) {
        if (route.kind !== 'vpn' || !route.health.isUp || route.health.heardAtMs > provedMs) continue;
        if (this.#running.has(route)) continue;
        if (doubted++ >= MAX_DOUBTED) return;
        void this.ask(peer, route);
      }
    }
  }

  async #ask(peer: Peer, route: Route): Promise<RouteVerdict> {
    const { ask, clock, table } = this.#options;
    const timeoutMs = this.#timeoutOf(route);
    const startedMs = clock.monotonicMs();
    const timeout = new AbortController();
    const cancel = clock.after(timeoutMs, () =>
      timeout.abort(new Error(`no response within ${timeoutMs} ms`)),
    );
    // Nobody waits for a clock once all is over.
    this.#stop.signal.addEventListener('abort', cancel);
    route.health.tried(startedMs);
    try {
      const signal = AbortSignal.any([timeout.signal, this.#stop.signal]);
      const body = await ask(peer, route, '/state', signal);
      if (this.#stop.signal.aborted) return 'silent';
      const nowMs = clock.monotonicMs();
      route.health.succeeded(nowMs);
      route.health.measured(nowMs - startedMs);
      table.markAlive(peer.key, nowMs);
      this.#take(peer, body, nowMs);
      return 'answered';
    } catch (fault) {
      if (this.#stop.signal.aborted) return 'silent';
      const isRefused = isRefusedConnection(fault);
      this.#failed(route, fault, startedMs);
      return isRefused ? 'refused' : 'silent';
    } finally {
      this.#stop.signal.removeEventListener('abort', cancel);
      cancel();
    }
  }

  #timeoutOf({ health, kind }: Route): number {
    const { timeoutMs, tunnelTimeoutMs } = this.#options;
    if (Number.isNaN(health.extraMs)) return kind === 'tunnel' ? tunnelTimeoutMs : timeoutMs;
    return Math.max(timeoutMs, SLOWER_THAN_USUAL * health.extraMs);
  }

  #failed(route: Route, fault: unknown, startedMs: number): void {
    // Answers to requests came over it in the meantime: the peer is slow, and the route is not down.
    if (route.health.heardAtMs >= startedMs) return;
    const wasUp = route.health.isUp;
    route.health.failed(this.#options.clock.monotonicMs(), fault instanceof Error ? fault.message : '');
    if (wasUp && !isRefusedConnection(fault)) this.silent(route);
  }

  #take(peer: Peer, body: Buffer, nowMs: number): void {
    const { log, refetch } = this.#options;
    const json = parseJson(body);
    const reports = decodePeerState(json);
    if (reports === null) {
      log.debug({ peer: peer.key }, 'a peer answered a probe with something else');
      return;
    }
    let restarted = false;
    for (const report of reports) {
      if (applyReport(peer, report, 'probe', nowMs) === 'restarted') restarted = true;
    }
    peer.stateReason = decodeReason(json);
    if (restarted || peer.isRecordBehind(decodeRevision(json), nowMs)) void refetch(peer);
  }
}
