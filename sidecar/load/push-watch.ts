/**
 * Says once when a worker that put its load on the admin port has stopped, and once when it is back.
 *
 * A push runs out by itself (core/worker-word), in silence: without this line a pusher that died would look like a
 * worker that never said anything. It must not know what was put.
 */
import { type SourceLog, SourceWatch } from './source-watch.ts';

interface Pusher {
  readonly watch: SourceWatch;
  timer: NodeJS.Timeout | null;
}

export class PushWatch {
  readonly #log: SourceLog;
  readonly #ttlMs: number;
  /** Of the services of this worker, which are few. */
  readonly #pushers = new Map<string, Pusher>();

  /** `ttlMs`: how long a push counts. */
  constructor(log: SourceLog, ttlMs: number) {
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
