/**
 * Ordered start and reverse-ordered stop of the parts of a process.
 *
 * A list instead of nested try/finally: each part names its end when it begins, and a start that fails half-way stops
 * exactly what had begun.
 */
import type { Log } from '../core/log.ts';

export class Lifecycle {
  readonly #log: Pick<Log, 'warn'>;
  readonly #parts: { readonly name: string; readonly stop: () => void | Promise<void> }[] = [];
  #stopping: Promise<void> | null = null;

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log;
  }

  /** Registers the end of something that has just begun. */
  onStop(name: string, stop: () => void | Promise<void>): void {
    this.#parts.push({ name, stop });
  }

  /** Stops everything, last begun first; one part's failure does not keep the others. Idempotent; never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await part.stop();
      } catch (err) {
        this.#log.warn({ part: part.name, err }, 'a part did not stop cleanly');
      }
    }
  }
}
