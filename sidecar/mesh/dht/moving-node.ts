/**
 * The DHT node of a host whose addresses change: one node after the other, seen as one.
 *
 * A node's place in the DHT is the hash of its address, so one cannot move: a new one is opened, knows whom the old one
 * knew, and takes over. All who hold the node hold this, and hear of the move as of a healed partition: who stores our
 * announcements, and who is there, may be others now.
 */
import type { DhtAddress, DhtKeyPair } from 'hyperdht';
import { messageOf, SidecarError } from '../../core/errors.ts';
import type { HealedPartition } from './bootstrap-nodes.ts';
import { Listeners } from './listeners.ts';
import {
  type Announcement,
  type AnnounceOptions,
  type DhtNode,
  type DhtNodeOptions,
  startDhtNode,
} from './node.ts';
import type { DhtBinding } from './open.ts';
import type { DhtStatus } from './status.ts';

/** Where a node stands, and whether others may store with it. */
export type DhtPlace = Pick<DhtBinding, 'role' | 'host'>;

/** Queries that run end by then: see MAX_QUERY_MS of the node. */
const OLD_NODE_MS = 8_500;

const KNOWN_NODES = 64;

export class MovingDhtNode implements DhtNode {
  readonly #options: DhtNodeOptions;
  readonly #statusListeners = new Listeners<DhtStatus>();
  readonly #healedListeners = new Listeners<HealedPartition>();
  readonly onStatus = this.#statusListeners.add;
  readonly onPartitionHealed = this.#healedListeners.add;
  readonly #leaving = new Set<DhtNode>();
  #node: DhtNode;
  #place: DhtPlace;
  #moving: Promise<void> = Promise.resolve();
  #isDestroyed = false;

  /** Rejects with a plain reason when it cannot bind. */
  static async start(options: DhtNodeOptions): Promise<MovingDhtNode> {
    return new MovingDhtNode(options, await startDhtNode(options));
  }

  private constructor(options: DhtNodeOptions, node: DhtNode) {
    this.#options = options;
    this.#place = { role: options.role, host: options.host };
    this.#node = node;
    this.#follow(node);
  }

  /** Resolves when it stands there; rejects when it cannot bind there, and stays where it is. One move at a time. */
  moveTo(place: DhtPlace): Promise<void> {
    const moved = this.#moving.then(() => this.#move(place));
    this.#moving = moved.catch(() => {});
    return moved;
  }

  get address(): DhtAddress {
    return this.#node.address;
  }

  lookup(topic: Buffer): AsyncIterable<Announcement> {
    return this.#node.lookup(topic);
  }

  announce(
    topic: Buffer,
    keyPair: DhtKeyPair,
    addresses: readonly DhtAddress[],
    o: AnnounceOptions,
  ): Promise<number> {
    return this.#node.announce(topic, keyPair, addresses, o);
  }

  unannounce(topic: Buffer, keyPair: DhtKeyPair): Promise<void> {
    return this.#node.unannounce(topic, keyPair);
  }

  mutablePut(keyPair: DhtKeyPair, value: Buffer, seq: number): Promise<void> {
    return this.#node.mutablePut(keyPair, value, seq);
  }

  mutableGet(publicKey: Buffer, minSeq: number): ReturnType<DhtNode['mutableGet']> {
    return this.#node.mutableGet(publicKey, minSeq);
  }

  nodes(limit: number): DhtAddress[] {
    return this.#node.nodes(limit);
  }

  status(): DhtStatus {
    return this.#node.status();
  }

  async destroy(): Promise<void> {
    this.#isDestroyed = true;
    this.#statusListeners.clear();
    this.#healedListeners.clear();
    await this.#moving;
    await Promise.all([this.#node, ...this.#leaving].map((node) => node.destroy()));
  }

  async #move(place: DhtPlace): Promise<void> {
    const { host, role } = this.#place;
    if (this.#isDestroyed || (place.host === host && place.role === role)) return;
    const old = this.#node;
    const knownNodes = old.nodes(KNOWN_NODES);
    // The same port on an address that takes in the old one is not free before.
    if (this.#options.port !== 0) await old.destroy();
    const options = { ...this.#options, ...place, knownNodes, preferredPort: old.address.port };
    let node: DhtNode;
    try {
      node = await startDhtNode(options);
    } catch (cause) {
      if (this.#options.port !== 0) await this.#openAgain(knownNodes, cause);
      throw cause;
    }
    this.#place = place;
    this.#takeOver(node);
    if (this.#options.port === 0) this.#leave(old);
  }

  /** Back to where it stood. */
  async #openAgain(knownNodes: readonly DhtAddress[], cause: unknown): Promise<void> {
    try {
      this.#takeOver(await startDhtNode({ ...this.#options, ...this.#place, knownNodes }));
    } catch {
      const why = `The DHT node has no address: ${messageOf(cause)}`;
      throw new SidecarError('discovery_unavailable', why, { cause });
    }
  }

  #takeOver(node: DhtNode): void {
    this.#node = node;
    this.#follow(node);
    this.#statusListeners.call(node.status());
    this.#healedListeners.call({ isWide: true });
  }

  #follow(node: DhtNode): void {
    node.onStatus((status) => {
      if (node === this.#node) this.#statusListeners.call(status);
    });
    node.onPartitionHealed((healed) => {
      if (node === this.#node) this.#healedListeners.call(healed);
    });
  }

  /** Its queries may end. */
  #leave(old: DhtNode): void {
    this.#leaving.add(old);
    this.#options.clock.after(OLD_NODE_MS, () => {
      this.#leaving.delete(old);
      void old.destroy();
    });
  }
}
