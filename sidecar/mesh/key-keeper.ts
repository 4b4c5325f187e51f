/**
 * Keeps the worker key at last, when the state directory could not take it at the start.
 *
 * A full disk is no reason not to serve, but a restart would be another worker: said once, tried again, and said when
 * it worked. It must not know files.
 */
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

export interface KeyKeeperOptions {
  /** Why the key is not kept; tries anew. null when all is well. */
  readonly keepKey: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly intervalMs: number;
}

/** The returned function ends it, after a last try. */
export function keepKeyInTheEnd({ keepKey, clock, log, intervalMs }: KeyKeeperOptions): () => void {
  const reason = keepKey();
  if (reason === null) return () => {};
  let cancel = (): void => {};
  let isKept = false;
  log.warn({ reason }, 'the worker key cannot be kept: after a restart this is another worker; going on');
  const tryAgain = (): void => {
    isKept = keepKey() === null;
    if (isKept) log.info({}, 'the worker key is kept now');
  };
  const next = (): void => {
    cancel = clock.after(intervalMs, () => {
      tryAgain();
      if (!isKept) next();
    });
  };
  next();
  return () => {
    cancel();
    if (!isKept) tryAgain();
  };
}
