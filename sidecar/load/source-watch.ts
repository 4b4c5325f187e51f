/**
 * Says once when a source of load fails and once when it is back, however often it is asked.
 *
 * Apart from the sources, so that all of them are loud in the same words and none floods the log.
 */
import type { Log, LogFields } from '../core/log.ts';

export class SourceWatch {
  readonly #log: Pick<Log, 'info' | 'warn'>;
  readonly #fields: LogFields;
  #state: 'new' | 'speaks' | 'dropped' = 'new';

  /** `fields` name the source in each line. */
  constructor(log: Pick<Log, 'info' | 'warn'>, fields: LogFields) {
    this.#log = log;
    this.#fields = fields;
  }

  spoke(): void {
    if (this.#state === 'dropped') this.#log.info(this.#fields, 'load source is back');
    this.#state = 'speaks';
  }

  /** Silence of a source that never spoke is no failure (no GPU, first sample), unless there is a fault. */
  silent(fault: unknown): void {
    if (this.#state === 'dropped' || (fault === undefined && this.#state === 'new')) return;
    this.#state = 'dropped';
    const why = fault === undefined ? {} : { err: fault };
    this.#log.warn({ ...this.#fields, ...why }, 'load source failed; dropped until it speaks again');
  }
}

interface Pusher {
  readonly watch: SourceWatch;
  timer: NodeJS.Timeout | null;
}

/**
 * Says once when a worker that put its load on the admin port has stopped, and once when it is back: a push runs out by
 * itself, in silence, and a pusher that died would look like a worker that never said anything.
 */
export class PushWatch {
  readonly #log: Pick<Log, 'info' | 'warn'>;
  readonly #ttlMs: number;
  /** Of the services of this worker, which are few. */
  readonly #pushers = new Map<string, Pusher>();

  /** `ttlMs`: how long a push counts. */
  constructor(log: Pick<Log, 'info' | 'warn'>, ttlMs: number) {
    this.#log = log;
    this.#ttlMs = ttlMs;
  }

  pushed(service: string): void {
    let pusher = this.#pushers.get(service);
    if (pusher === undefined) {
      pusher = { watch: new SourceWatch(this.#log, { source: 'push', service }), timer: null };
      this.#pushers.set(service, pusher);
    }
    const { watch, timer } = pusher;
    if (timer !== null) clearTimeout(timer);
    watch.spoke();
    pusher.timer = setTimeout(() => watch.silent(undefined), this.#ttlMs);
    pusher.timer.unref();
  }
}
