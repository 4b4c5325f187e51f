/**
 * DHT nodes that fell silent, or are only known from the last run: whom to ask whether they are back.
 *
 * hyperdht forgets who does not answer. After a partition that would make each half a DHT of its own for good, as
 * nobody would ever ask a node of the other half. Bounded, in turn.
 */
import type { DhtAddress } from 'hyperdht';

const MAX_NODES = 64;

export class LostNodes {
  /** By host:port; the longest not asked first. */
  readonly #nodes = new Map<string, DhtAddress>();

  constructor(known: readonly DhtAddress[]) {
    for (const node of known) this.add(node);
  }

  /** It does not answer. Beyond the bound the one that was not asked for longest is forgotten. */
  add({ host, port }: DhtAddress): void {
    const key = `${host}:${port}`;
    this.#nodes.delete(key);
    this.#nodes.set(key, { host, port });
    for (const oldest of this.#nodes.keys()) {
      if (this.#nodes.size <= MAX_NODES) break;
      this.#nodes.delete(oldest);
    }
  }

  /** It answers. Whether it was among them. */
  remove({ host, port }: DhtAddress): boolean {
    return this.#nodes.delete(`${host}:${port}`);
  }

  /** At most `count`, each in its turn. */
  next(count: number): DhtAddress[] {
    const nodes = [...this.#nodes.values()].slice(0, count);
    for (const node of nodes) this.add(node);
    return nodes;
  }
}
