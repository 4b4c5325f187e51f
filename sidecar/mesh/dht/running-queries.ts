/**
 * The queries that a DHT node runs now: none outlives the node, crashes the process or lasts for ever.
 *
 * A set of its own because a hyperdht query is a stream that throws without an `error` listener, that hangs when its
 * node is destroyed under it, and whose end waits for the slowest node.
 */
import type { DhtQuery } from 'hyperdht';
import type { Clock } from '../clock.ts';

export class RunningQueries {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #queries = new Set<DhtQuery<unknown>>();

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** Takes the query over and returns it. After `limitMs` it is ended as if it were complete. */
  add<T>(query: DhtQuery<T>): DhtQuery<T> {
    const cancel = this.#clock.after(this.#limitMs, () => query.destroy());
    this.#queries.add(query);
    query.on('error', () => {});
    query.on('close', () => {
      cancel();
      this.#queries.delete(query);
    });
    return query;
  }

  endAll(): void {
    for (const query of this.#queries) query.destroy();
  }
}
