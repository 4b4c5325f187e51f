/**
 * One key, two sidecars: a state directory that was copied with its machine, a certificate that two workers use.
 *
 * What one of them offers is then asked of the other, whichever announced itself last. A lookup that brings up our own
 * key elsewhere, a record in the DHT that we did not write, and a peer whose life and place change are only hints: old
 * news does that as well. That two lives are led at once is believed of nothing but proofs made for our own challenge
 * (mesh/membership/life-proof). Each tells the other; the younger takes a new key.
 */

import { BoundedCache } from '../../core/bounded-cache.ts';
import { type HostPort, parseHostPort } from '../../core/host-port.ts';
import { fields, parseJson } from '../../core/json.ts';
import type { Log } from '../../core/log.ts';
import type { WorkerRecord } from '../../core/peers/record.ts';
import type { Clock } from '../clock.ts';
import { isChallenge, type Life, newChallenge, proveLife, provenLife } from '../membership/life-proof.ts';
import { placeOf } from './id-conflicts.ts';

/** An inbound listener, or the URL of a tunnel. */
export type LifeAddress = HostPort | string;

export interface KeyClonesOptions {
  readonly own: { readonly keyHex: string; readonly secretKey: Buffer };
  /** The present life of this sidecar. */
  readonly life: () => Life;
  /** GET of a path from the holder of the key at that address; rejects when it does not answer as that. */
  readonly ask: (address: LifeAddress, keyHex: string, path: string) => Promise<Buffer>;
  readonly mayAsk: (address: HostPort) => boolean;
  /** Goes on with a new key; why not, or null when it does. */
  readonly takeNewKey: () => string | null;
  /** The other one has left this key to us: all are to know where it is. */
  readonly reclaim: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is shown of one key that two sidecars have, or had a moment ago. */
export interface KeyClone {
  /** null = that of this sidecar. */
  readonly worker: string | null;
  readonly keyHex: string;
  readonly addresses: readonly string[];
  readonly isOver: boolean;
  /** What has been done about it here. */
  readonly outcome: 'new_key' | 'kept' | 'cannot_change' | 'seen';
}

interface Seen {
  readonly epoch: number;
  readonly place: string;
  readonly address: LifeAddress | null;
}

interface Note extends KeyClone {
  readonly atMs: number;
}

/** As inbound knows it. */
const LIFE_PATH = '/life/';

/** A second look at the same place may reach the other one: a tunnel with two connectors. */
const LOOKS = 4;
const MAX_CHALLENGES = 16;
const CHALLENGE_MS = 10_000;
const MAX_SEEN = 4_096;

/** Hints that are followed up at once: each is a connection to where somebody says that our key is. */
const MAX_RUNNING = 32;
const MAX_NOTES = 64;

/** How often it is looked whether it is over: soon at first. */
const WATCH_MS = [500, 1_000, 2_000, 5_000, 15_000] as const;

/** So long it is shown after it is over. */
const SHOWN_MS = 600_000;

export class KeyClones {
  readonly #options: KeyClonesOptions;
  readonly #challenges = new Map<string, number>();
  readonly #seen = new BoundedCache<string, Seen>(MAX_SEEN, () => {});
  readonly #notes = new Map<string, Note>();
  /** Hints that are being followed up: each once. */
  readonly #running = new Set<string>();
  readonly #cancels = new Set<() => void>();
  #isStopped = false;

  constructor(options: KeyClonesOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#isStopped = true;
    for (const cancel of this.#cancels) cancel();
  }

  /** Those that are, or were within the last ten minutes. */
  get notes(): readonly KeyClone[] {
    const nowMs = this.#options.clock.monotonicMs();
    return [...this.#notes.values()].filter(({ isOver, atMs }) => !isOver || nowMs - atMs < SHOWN_MS);
  }

  /** Where two sidecars run with that key now; null = one does, as far as is known. */
  addressesOf(keyHex: string): readonly string[] | null {
    const note = this.#notes.get(keyHex);
    return note === undefined || note.isOver ? null : note.addresses;
  }

  /** Our own key was announced from there, or is in a record that says so. */
  found(address: LifeAddress): void {
    if (typeof address !== 'string' && !this.#options.mayAsk(address)) return;
    const { keyHex } = this.#options.own;
    void this.#once(`${keyHex} ${textOf(address)}`, () => this.#lookAtOwn(keyHex, address));
  }

  /** Of our own key, and not written by this life. */
  foundRecord(record: WorkerRecord): void {
    const { keyHex } = this.#options.own;
    const address = addressOf(record);
    if (record.public_key !== keyHex || record.epoch === this.#options.life().epoch || address === null)
      return;
    this.found(address);
  }

  /** A verified record of a peer. Another life in the same place is a restart, another place in one life a move. */
  seen(record: WorkerRecord): void {
    if (record.state === 'draining') return;
    const { public_key: key, epoch, worker_id: worker } = record;
    const before = this.#seen.get(key);
    const now: Seen = { epoch, place: placeOf(record), address: addressOf(record) };
    this.#seen.set(key, now);
    if (before === undefined || before.epoch === epoch) return;
    if (before.place === now.place && epoch > before.epoch) return;
    const addresses = [before.address, now.address].filter((address) => address !== null);
    void this.#once(key, () => this.#compare(key, worker, addresses));
  }

  /** What a member that asked for `/life/…` is answered. */
  answer(callerKey: string, target: string): object {
    const { own, life } = this.#options;
    const [challenge, proof] = target.slice(LIFE_PATH.length).split('/', 2);
    if (!isChallenge(challenge)) return {};
    const said = { proof: proveLife(own.secretKey, challenge, life()) };
    if (callerKey !== own.keyHex) return said;
    if (proof !== undefined) this.#take(proof);
    return { ...said, challenge: this.#newChallenge() };
  }

  /** Of one that asked us, and was given a challenge. */
  #take(proof: string): void {
    const { own, clock } = this.#options;
    for (const [challenge, atMs] of this.#challenges) {
      if (clock.monotonicMs() - atMs > CHALLENGE_MS) continue;
      const life = provenLife(own.keyHex, challenge, proof);
      if (life === null) continue;
      this.#challenges.delete(challenge);
      this.#met(own.keyHex, life, this.#addressIn(life.place));
      return;
    }
  }

  #addressIn(place: string): LifeAddress | null {
    const address = parseHostPort(place);
    if (address !== null) return this.#options.mayAsk(address) ? address : null;
    return URL.canParse(place) ? place : null;
  }

  #newChallenge(): string {
    const challenge = newChallenge();
    this.#challenges.set(challenge, this.#options.clock.monotonicMs());
    const [oldest] = this.#challenges.keys();
    if (this.#challenges.size > MAX_CHALLENGES && oldest !== undefined) this.#challenges.delete(oldest);
    return challenge;
  }

  async #lookAtOwn(keyHex: string, address: LifeAddress): Promise<void> {
    const { own, life } = this.#options;
    for (let look = 0; look < LOOKS; look += 1) {
      const other = await this.#lifeAt(address, keyHex);
      if (other === null || this.#isStopped || keyHex !== own.keyHex) return;
      if (other.life.id === life().id) continue;
      // It may have no way to us; and is told before this one changes.
      if (other.challenge !== null) await this.#tell(address, other.challenge);
      this.#met(keyHex, other.life, address);
      return;
    }
  }

  async #tell(address: LifeAddress, challenge: string): Promise<void> {
    const { ask, life, own } = this.#options;
    const proof = proveLife(own.secretKey, challenge, life());
    await ask(address, own.keyHex, `${LIFE_PATH}${newChallenge()}/${proof}`).catch(() => undefined);
  }

  /** Another life leads our key now. */
  #met(keyHex: string, other: Life, address: LifeAddress | null): void {
    const { own, log, takeNewKey } = this.#options;
    const ours = this.#options.life();
    if (keyHex !== own.keyHex || other.id === ours.id || other.isDraining || ours.isDraining) return;
    const isKnown = this.#notes.get(keyHex)?.isOver === false;
    const isYounger = other.epoch === ours.epoch ? ours.id > other.id : ours.epoch > other.epoch;
    const addresses = [ours.place, other.place];
    const told = `another sidecar runs with the key of this one: ${ours.place} (this one) and ${other.place}`;
    const fields = { peer: keyHex, addresses };
    if (!isYounger) {
      this.#note({ worker: null, keyHex, addresses, outcome: 'kept', isOver: false });
      if (!isKnown)
        log.warn({ ...fields, hint: CLONE_HINT }, `${told}; that one is younger, and is to change`);
      if (!isKnown) this.#watchOwn(keyHex, address);
      return;
    }
    const fault = takeNewKey();
    const outcome = fault === null ? 'new_key' : 'cannot_change';
    this.#note({ worker: null, keyHex, addresses, outcome, isOver: fault === null });
    if (fault === null)
      log.warn({ ...fields, hint: CLONE_HINT }, `${told}; this one, the younger, goes on with a new key`);
    else if (!isKnown) {
      log.error({ ...fields, hint: fault }, `${told}; each gets requests that are meant for the other`);
      this.#watchOwn(keyHex, address);
    }
  }

  /** One that only told us of itself will do so again. */
  #watchOwn(keyHex: string, address: LifeAddress | null): void {
    this.#watch(keyHex, null, address === null ? [] : [address], address === null ? WATCH_MS.length : 0);
  }

  /** Whether two lives of a peer's key are led in these places. */
  async #compare(keyHex: string, worker: string, addresses: readonly LifeAddress[]): Promise<void> {
    const places = await this.#placesOf(keyHex, addresses);
    if (places.length < 2 || this.#isStopped) return;
    const isKnown = this.#notes.get(keyHex)?.isOver === false;
    this.#note({ worker, keyHex, addresses: places, outcome: 'seen', isOver: false });
    if (isKnown) return;
    this.#options.log.warn(
      { worker, peer: keyHex, addresses: places, hint: CLONE_HINT },
      `two sidecars run with the key of ${worker} at once: ${places.join(' and ')}`,
    );
    this.#watch(keyHex, worker, addresses, 0);
  }

  /** Where it is led: one place for each life. */
  async #placesOf(keyHex: string, addresses: readonly LifeAddress[]): Promise<readonly string[]> {
    const places = new Map<string, string>();
    for (let look = 0; look < 2; look += 1) {
      for (const address of addresses) {
        const found = await this.#lifeAt(address, keyHex);
        if (found !== null && !found.life.isDraining) places.set(found.life.id, found.life.place);
      }
    }
    return [...places.values()];
  }

  /** Until it is over. */
  #watch(keyHex: string, worker: string | null, addresses: readonly LifeAddress[], round: number): void {
    const { clock, life, log, own, reclaim } = this.#options;
    const cancel = clock.after(WATCH_MS[Math.min(round, WATCH_MS.length - 1)] as number, () => {
      this.#cancels.delete(cancel);
      void this.#placesOf(keyHex, addresses).then((places) => {
        if (this.#isStopped) return;
        const others = worker === null ? places.filter((place) => place !== life().place) : places.slice(1);
        if (others.length > 0) return this.#watch(keyHex, worker, addresses, round + 1);
        const note = this.#notes.get(keyHex);
        if (note !== undefined) this.#note({ ...note, isOver: true });
        log.info({ peer: keyHex, addresses: note?.addresses }, 'one sidecar alone runs with that key again');
        if (worker === null && keyHex === own.keyHex) reclaim();
      });
    });
    this.#cancels.add(cancel);
  }

  async #lifeAt(
    address: LifeAddress,
    keyHex: string,
  ): Promise<{ readonly life: Life; readonly challenge: string | null } | null> {
    const challenge = newChallenge();
    try {
      const body = await this.#options.ask(address, keyHex, `${LIFE_PATH}${challenge}`);
      const said = fields(parseJson(body));
      const life = provenLife(keyHex, challenge, said.proof);
      return life === null ? null : { life, challenge: isChallenge(said.challenge) ? said.challenge : null };
    } catch {
      return null;
    }
  }

  async #once(hint: string, follow: () => Promise<void>): Promise<void> {
    if (this.#isStopped || this.#running.has(hint) || this.#running.size >= MAX_RUNNING) return;
    this.#running.add(hint);
    await follow().finally(() => this.#running.delete(hint));
  }

  #note(clone: KeyClone): void {
    this.#notes.delete(clone.keyHex);
    this.#notes.set(clone.keyHex, { ...clone, atMs: this.#options.clock.monotonicMs() });
    const [oldest] = this.#notes.keys();
    if (this.#notes.size > MAX_NOTES && oldest !== undefined) this.#notes.delete(oldest);
  }
}

const CLONE_HINT =
  'a state directory (state.dir) belongs to one sidecar: leave it out when a machine or a volume is copied';

/** The way to it that its record names. */
function addressOf({ vpn_ip: host, inbound_port: port, tunnel_url: url }: WorkerRecord): LifeAddress | null {
  return host !== null && port !== null ? { host, port } : url;
}

function textOf(address: LifeAddress): string {
  return typeof address === 'string' ? address : `${address.host}:${address.port}`;
}
