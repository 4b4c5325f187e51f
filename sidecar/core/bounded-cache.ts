/**
 * A cache that holds the most recently used half of what it may hold, and never more than `maxEntries`.
 *
 * Two generations instead of a linked LRU list: a hit in the young one is a single map look-up with nothing moved,
 * which matters on the request path. When the young one is half of the limit it becomes the old one, and what was still
 * in the old one, not used since, goes.
 */
export class BoundedCache<K, V> {
  readonly #half: number;
  readonly #onEvicted: (value: V) => void;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /** `onEvicted` is called for each value that goes for want of room. */
  constructor(maxEntries: number, onEvicted: (value: V) => void) {
    this.#half = Math.max(1, Math.floor(maxEntries / 2));
    this.#onEvicted = onEvicted;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: K): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.#add(key, old);
    return old;
  }

  delete(key: K): void {
    if (!this.#young.delete(key)) this.#old.delete(key);
  }

  set(key: K, value: V): void {
    this.#old.delete(key);
    this.#add(key, value);
  }

  #add(key: K, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      for (const evicted of this.#old.values()) this.#onEvicted(evicted);
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}
