/**
 * Who is to be told of something: added and taken away one by one, all gone at the end.
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
