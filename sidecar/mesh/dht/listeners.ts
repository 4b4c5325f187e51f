/**
 * Those who want to hear of one kind of change, each until it says otherwise.
 *
 * Small and typed instead of an EventEmitter, whose names and arguments nothing checks. It must not know what has
 * changed.
 */
export class Listeners<T> {
  readonly #listeners = new Set<(news: T) => void>();

  /** The returned function ends it. May be passed on by itself. */
  readonly add = (listener: (news: T) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  call(news: T): void {
    for (const listener of this.#listeners) listener(news);
  }

  clear(): void {
    this.#listeners.clear();
  }
}
