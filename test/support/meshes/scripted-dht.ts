/**
 * A DHT node that answers as told, and when: no network, no time.
 *
 * For what lookups and fetches make of its answers; whether real nodes give them is for `private-dht`.
 */
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { Announcement, DhtNode } from '../../../sidecar/mesh/dht/node.ts';
import type { DhtStatus } from '../../../sidecar/mesh/dht/status.ts';

export class ScriptedDht implements Pick<DhtNode, 'lookup' | 'mutableGet' | 'onStatus' | 'status'> {
  /** What each lookup brings, whatever its topic. */
  readonly announced: Announcement[] = [];
  /** Mutable values by key. */
  readonly values = new Map<string, { readonly value: Buffer; readonly seq: number }>();
  /** Each question for a mutable value. */
  readonly gets: { readonly key: string; readonly minSeq: number }[] = [];
  /** A lookup ends when this resolves. */
  end: Promise<void> = Promise.resolve();
  /** Each lookup ends with an error. */
  fails = false;
  lookups = 0;
  #kind: DhtStatus['kind'] = 'connected';
  readonly #listeners = new Set<(status: DhtStatus) => void>();

  /** Who listens for a change of status. */
  get listeners(): number {
    return this.#listeners.size;
  }

  announce(key: string, address: HostPort | null): void {
    const addresses = address === null ? [] : [address];
    this.announced.push({ publicKey: Buffer.from(key, 'hex'), addresses });
  }

  async *lookup(): AsyncIterable<Announcement> {
    this.lookups += 1;
    if (this.fails || this.#kind === 'unreachable') throw new Error('no node answers');
    yield* this.announced;
    await this.end;
  }

  async mutableGet(publicKey: Buffer, minSeq: number) {
    const key = publicKey.toString('hex');
    this.gets.push({ key, minSeq });
    const found = this.values.get(key);
    return found !== undefined && found.seq >= minSeq ? found : null;
  }

  become(kind: DhtStatus['kind']): void {
    this.#kind = kind;
    for (const listener of this.#listeners) listener(this.status());
  }

  status(): DhtStatus {
    const hint = `it is ${this.#kind}.`;
    return { kind: this.#kind, nodes: 1, hint, joinLine: null, bootstrapNodes: [], rejectedDatagrams: 0 };
  }

  onStatus(listener: (status: DhtStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
