/**
 * One node of the private DHT: the only place where hyperdht is called.
 *
 * A narrow interface over the library instead of its object, because what is needed is a handful of calls and each has
 * a trap: the role decides if a node ever stores, a query ends seconds after its responses are in, a put resolves
 * though it was refused, and every stream throws without an `error` listener.
 */
import type HyperDHT from 'hyperdht';
import type { DhtAddress, DhtKeyPair, DhtQuery } from 'hyperdht';
import { messageOf, SidecarError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { type Clock, within } from '../clock.ts';
import { BootstrapNodes, bootstrapRpc, type HealedPartition } from './bootstrap-nodes.ts';
import { Listeners } from './listeners.ts';
import { LostNodes } from './lost-nodes.ts';
import { type DhtBinding, openHyperDht } from './open.ts';
import { RunningQueries } from './running-queries.ts';
import { SealedUDX } from './sealed-udx.ts';
import { type DhtStatus, describeDht } from './status.ts';
import { guardStore, type StoreRules, withoutProof, withProof } from './store-guard.ts';

export interface DhtNodeOptions extends DhtBinding {
  /** Addresses or names; empty = this is the first node of its DHT. */
  readonly bootstrap: readonly DhtAddress[];
  /** Nodes of the last run. */
  readonly knownNodes: readonly DhtAddress[];
  /** 32 bytes; all nodes of the mesh have the same. */
  readonly packetKey: Buffer;
  /** What it stores for others; null: what the DHT's own rules allow. */
  readonly storeRules: StoreRules | null;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Announcement {
  readonly publicKey: Buffer;
  /** What the announcer put into the relay slots: for a worker with VPN, its inbound listener. */
  readonly addresses: readonly DhtAddress[];
}

export interface AnnounceOptions {
  /** An older announcement of the key is removed first. */
  readonly clear: boolean;
  /** The certificate of the key: nodes of a mesh store nothing without. */
  readonly proof?: Buffer;
}

export interface DhtNode {
  readonly address: DhtAddress;
  /** Yields as answers come; repeats a key that several nodes name. Unsigned: a storing node can invent them. */
  lookup(topic: Buffer): AsyncIterable<Announcement>;
  /** How many nodes were asked to store it, ≥ 1. Throws `discovery_unavailable` when none answered. */
  announce(
    topic: Buffer,
    keyPair: DhtKeyPair,
    addresses: readonly DhtAddress[],
    o: AnnounceOptions,
  ): Promise<number>;
  /** Best effort; never throws. */
  unannounce(topic: Buffer, keyPair: DhtKeyPair): Promise<void>;
  /** Resolves also when every node refused it: read back to know. Throws `discovery_unavailable`. */
  mutablePut(keyPair: DhtKeyPair, value: Buffer, seq: number): Promise<void>;
  /** The first authentic value with at least this `seq`; null when there is none. */
  mutableGet(
    publicKey: Buffer,
    minSeq: number,
  ): Promise<{ readonly value: Buffer; readonly seq: number } | null>;
  /** The most recently heard nodes first. */
  nodes(limit: number): DhtAddress[];
  status(): DhtStatus;
  /** Called after each change of `status().kind`; the returned function ends it. */
  onStatus(listener: (status: DhtStatus) => void): () => void;
  /** Called when others answer again, or this host has slept, without change of `status().kind`: see Seeds. */
  onPartitionHealed(listener: (healed: HealedPartition) => void): () => void;
  /** Idempotent; ends all queries that run. */
  destroy(): Promise<void>;
}

/** One repeat, not five: streamed responses come within one round trip, and a dead node must not hold the end. */
const RETRIES = 1;

/** A query that is not over by then is ended, whatever the library waits for. */
const MAX_QUERY_MS = 8_000;

/** Binds and resolves; joining goes on behind, see `status`. Rejects with a plain reason when it cannot bind. */
export async function startDhtNode(options: DhtNodeOptions): Promise<DhtNode> {
  const udx = new SealedUDX(options.packetKey);
  const dht = await openHyperDht(options, udx);
  const { log, storeRules } = options;
  if (storeRules !== null) {
    guardStore(dht, storeRules, () => log.debug({ part: 'dht' }, 'refused to store what is not certified'));
  }
  return new HyperDhtNode(dht, () => udx.rejected, options);
}

class HyperDhtNode implements DhtNode {
  readonly address: DhtAddress;
  readonly #dht: HyperDHT;
  readonly #rejected: () => number;
  readonly #options: DhtNodeOptions;
  readonly #bootstrapNodes: BootstrapNodes;
  readonly #queries: RunningQueries;
  readonly #statusListeners = new Listeners<DhtStatus>();
  readonly #healedListeners = new Listeners<HealedPartition>();
  readonly onStatus = this.#statusListeners.add;
  readonly onPartitionHealed = this.#healedListeners.add;
  #kind: DhtStatus['kind'];
  #destroying: Promise<void> | null = null;

  constructor(dht: HyperDHT, rejected: () => number, options: DhtNodeOptions) {
    this.#dht = dht;
    this.#rejected = rejected;
    this.#options = options;
    this.#queries = new RunningQueries(options.clock, MAX_QUERY_MS);
    const bound = dht.address();
    this.address = { host: options.host, port: bound?.port ?? options.port };
    const isSelf = ({ host, port }: DhtAddress) => host === options.host && port === this.address.port;
    const lost = new LostNodes(options.knownNodes.filter((node) => !isSelf(node)));
    this.#bootstrapNodes = new BootstrapNodes({
      rpc: bootstrapRpc(dht, this.address, this.#queries),
      bootstrap: options.bootstrap,
      lost,
      // A query never asks the node that makes it, so in a small DHT what is stored here would be invisible
      // here, and a lone node could not announce at all. With its own address in the list it asks itself.
      own: options.role === 'client' ? null : this.address,
      clock: options.clock,
      onChange: () => this.#changed(),
      onPartitionHealed: (healed) => this.#healedListeners.call(healed),
    });
    this.#kind = this.status().kind;
    dht.on('add-node', (node) => {
      this.#bootstrapNodes.found(node);
      this.#changed();
    });
    dht.on('remove-node', (node) => {
      lost.add(node);
      this.#changed();
    });
    this.#bootstrapNodes.start();
  }

  async *lookup(topic: Buffer): AsyncIterable<Announcement> {
    const query = this.#run(() => this.#dht.lookup(topic, { retries: RETRIES }));
    try {
      for await (const reply of query) {
        for (const peer of reply.peers) {
          // Copied: the buffers are slices of whole datagrams.
          yield {
            publicKey: Buffer.from(peer.publicKey),
            addresses: withoutProof(peer.relayAddresses).slice(0, 3),
          };
        }
      }
    } catch (cause) {
      // Ended by RunningQueries: with the node (an error), or at its limit (what came is the response).
      if (this.#destroying !== null) throw stopped(cause);
    } finally {
      query.destroy();
    }
  }

  async announce(
    topic: Buffer,
    keyPair: DhtKeyPair,
    addresses: readonly DhtAddress[],
    o: AnnounceOptions,
  ): Promise<number> {
    const query = this.#run(() =>
      this.#dht.announce(topic, keyPair, o.proof === undefined ? addresses : withProof(addresses, o.proof), {
        retries: RETRIES,
        clear: o.clear,
      }),
    );
    try {
      await query.finished();
    } catch (cause) {
      throw new SidecarError(
        'discovery_unavailable',
        `No DHT node stored the announcement: ${messageOf(cause)}`,
        {
          cause,
        },
      );
    }
    return query.closestNodes.length;
  }

  async unannounce(topic: Buffer, keyPair: DhtKeyPair): Promise<void> {
    try {
      await within(
        this.#options.clock,
        MAX_QUERY_MS,
        this.#dht.unannounce(topic, keyPair, { retries: RETRIES }),
        undefined,
      );
    } catch (cause) {
      // With nobody there, there is also nobody who could name us.
      this.#options.log.debug({ reason: messageOf(cause) }, 'unannounce reached no node');
    }
  }

  async mutablePut(keyPair: DhtKeyPair, value: Buffer, seq: number): Promise<void> {
    try {
      const put = this.#dht.mutablePut(keyPair, value, { seq, retries: RETRIES });
      await within(this.#options.clock, MAX_QUERY_MS, put, undefined);
    } catch (cause) {
      throw new SidecarError('discovery_unavailable', `No DHT node stored the record: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  async mutableGet(publicKey: Buffer, minSeq: number): Promise<{ value: Buffer; seq: number } | null> {
    try {
      const get = this.#dht.mutableGet(publicKey, { seq: minSeq, latest: false, retries: RETRIES });
      const found = await within(this.#options.clock, MAX_QUERY_MS, get, null);
      return found === null ? null : { value: Buffer.from(found.value), seq: found.seq };
    } catch {
      return null;
    }
  }

  nodes(limit: number): DhtAddress[] {
    return this.#dht.toArray({ limit });
  }

  status(): DhtStatus {
    return describeDht({
      contact: this.#bootstrapNodes.contact,
      nodes: this.#dht.nodes.length,
      joinAddress: this.#options.role === 'client' ? null : `${this.address.host}:${this.address.port}`,
      bootstrapNodes: this.#bootstrapNodes.states(),
      rejectedDatagrams: this.#rejected(),
    });
  }

  destroy(): Promise<void> {
    this.#destroying ??= this.#destroy();
    return this.#destroying;
  }

  async #destroy(): Promise<void> {
    this.#bootstrapNodes.stop();
    this.#statusListeners.clear();
    this.#healedListeners.clear();
    this.#queries.endAll();
    // `force` skips the library's own unannounce rounds: what this node announced, its owner has withdrawn.
    await this.#dht.destroy({ force: true });
  }

  #run<T>(start: () => DhtQuery<T>): DhtQuery<T> {
    if (this.#destroying !== null)
      throw new SidecarError('discovery_unavailable', 'The DHT node is stopped.');
    return this.#queries.add(start());
  }

  #changed(): void {
    const status = this.status();
    if (status.kind === this.#kind || this.#destroying !== null) return;
    this.#kind = status.kind;
    this.#statusListeners.call(status);
  }
}

function stopped(cause?: unknown): SidecarError {
  return new SidecarError('discovery_unavailable', 'The DHT node is stopped.', { cause });
}
