/**
 * Spreads the list of revoked keys: who gets a newer one tells all peers at once, and each asks one of them now and
 * then, so that also those hear of it that were away.
 *
 * Asking tells: the path holds the time of the own list, and who is asked by one that has a newer one asks back. Who is
 * revoked is dropped from the table and announced to the composition, which cuts what runs. Until it has been answered a
 * few times, each peer that is met is asked: who starts without a list has it before it serves for long.
 */
import { fields, parseJson } from '../../core/json.ts';
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { Route } from '../../core/peers/route.ts';
import type { Clock } from '../clock.ts';
import type { RevocationList, Revocations } from '../membership/revocations.ts';

const REVOKED_PATH = '/revoked/';

export interface RevocationSpreadOptions {
  readonly revocations: Revocations;
  readonly table: Pick<PeerTable, 'all' | 'get' | 'revoke'>;
  readonly own: { readonly keyHex: string };
  /** GET of a peer by this route. */
  readonly ask: (peer: Peer, route: Route, path: string) => Promise<Buffer>;
  /** What runs to it is to be cut. */
  readonly onDropped: (peer: Peer) => void;
  readonly clock: Clock;
  /** [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

const ASK_EVERY_MS = 2_000;

/** Told at once of a newer list; the others hear of it from these, or when they ask. */
const MAX_TOLD = 64;

/** One of the first that are met may be the revoked one, which keeps the list to itself. */
const ASKED_WHEN_MET = 4;

export class RevocationSpread {
  readonly #options: RevocationSpreadOptions;
  readonly #asking = new Set<string>();
  #answers = 0;
  #cancel = (): void => {};

  constructor(options: RevocationSpreadOptions) {
    this.#options = options;
    options.revocations.onNewer((list) => this.#newer(list));
    options.table.revoke(options.revocations.keys, options.clock.monotonicMs());
    this.#sayOwn();
  }

  get isOwnKeyRevoked(): boolean {
    return this.#options.revocations.has(this.#options.own.keyHex);
  }

  start(): void {
    const { clock, random, table } = this.#options;
    this.#cancel = clock.after(ASK_EVERY_MS * (0.75 + random() / 2), () => {
      const peers = [...table.all()].filter(({ presence }) => presence === 'live');
      const one = peers[Math.floor(random() * peers.length)];
      if (one !== undefined) void this.#ask(one);
      this.start();
    });
  }

  stop(): void {
    this.#cancel();
  }

  /** Its record was taken. */
  met(keyHex: string): void {
    const peer = this.#answers < ASKED_WHEN_MET ? this.#options.table.get(keyHex) : undefined;
    if (peer !== undefined) void this.#ask(peer);
  }

  /** Body of the response to one who asks, and what its question tells. */
  answer(callerKey: string, target: string): { readonly list: string | null } {
    const { revocations, table } = this.#options;
    const theirsMs = Number(/^\/revoked\/(\d{1,16})$/.exec(target)?.[1] ?? 0);
    const caller = theirsMs > revocations.madeMs ? table.get(callerKey) : undefined;
    if (caller !== undefined) void this.#ask(caller);
    return { list: theirsMs < revocations.madeMs ? revocations.text : null };
  }

  #newer({ keys }: RevocationList): void {
    const { clock, log, onDropped, table } = this.#options;
    for (const peer of table.revoke(keys, clock.monotonicMs())) {
      const { key, record } = peer;
      log.warn({ peer: key, worker: record.worker_id }, 'a peer is dropped: its key was revoked');
      onDropped(peer);
    }
    log.info({ part: 'mesh' }, `a newer list of revoked keys counts: it has ${keys.size}`);
    this.#sayOwn();
    for (const peer of [...table.all()].slice(0, MAX_TOLD)) void this.#ask(peer);
  }

  #sayOwn(): void {
    if (!this.isOwnKeyRevoked) return;
    const hint = 'it needs another key: `dht-sidecar mesh join` in a fresh state directory';
    this.#options.log.error({ part: 'mesh', hint }, 'the key of this worker was revoked: peers refuse it');
  }

  /** One question to a peer at a time. Never rejects. */
  async #ask(peer: Peer): Promise<void> {
    if (this.#asking.has(peer.key)) return;
    this.#asking.add(peer.key);
    const { revocations, table } = this.#options;
    let toldMs: number;
    do {
      toldMs = revocations.madeMs;
      await this.#askOnce(peer);
      // It is told of one that came meanwhile too.
    } while (revocations.madeMs > toldMs && table.get(peer.key) !== undefined);
    this.#asking.delete(peer.key);
  }

  async #askOnce(peer: Peer): Promise<void> {
    const { ask, log, revocations } = this.#options;
    const route = peer.routes.find(({ health }) => health.isUp) ?? peer.routes[0];
    if (route === undefined) return;
    try {
      const { list } = fields(parseJson(await ask(peer, route, `${REVOKED_PATH}${revocations.madeMs}`)));
      this.#answers += 1;
      if (typeof list !== 'string') return;
      const { kind, fault } = revocations.take(list);
      if (kind === 'bad') log.debug({ peer: peer.key }, 'a list of revoked keys is not signed by the mesh');
      if (fault !== null)
        log.warn({ reason: fault }, 'the list of revoked keys cannot be kept: a restart forgets it');
    } catch (cause) {
      log.debug({ peer: peer.key, reason: String(cause) }, 'not asked for revoked keys');
    }
  }
}
