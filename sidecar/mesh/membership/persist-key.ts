/**
 * Keeps the worker key at last, when the state directory could not take it at the start.
 *
 * A full disk is no reason not to serve, but a restart would be another worker: said once, tried again, and said when
 * it worked, or when another sidecar has kept its own in that place meanwhile.
 */
import type { Log } from '../../core/log.ts';
import type { Clock } from '../clock.ts';
import type { Kept } from './worker-key.ts';

export interface PersistKeyOptions {
  /** Tries anew. */
  readonly keepKey: () => Kept;
  readonly clock: Clock;
  readonly log: Log;
  readonly intervalMs: number;
}

/** The returned function ends it, after a last try. */
export function persistKey({ keepKey, clock, log, intervalMs }: PersistKeyOptions): () => void {
  let cancel = (): void => {};
  let isOver = false;
  const settled = (kept: Kept): boolean => {
    if (kept.kind !== 'taken') return kept.kind === 'kept';
    log.warn(
      { hint: 'give each sidecar a state directory of its own' },
      'the state directory holds the worker key of another sidecar by now: after a restart this is that worker',
    );
    return true;
  };
  const tryAgain = (): void => {
    const kept = keepKey();
    isOver = settled(kept);
    if (kept.kind === 'kept') log.info({}, 'the worker key is kept now');
  };
  const next = (): void => {
    cancel = clock.after(intervalMs, () => {
      tryAgain();
      if (!isOver) next();
    });
  };
  const first = keepKey();
  if (first.kind !== 'fault') {
    settled(first);
    return () => {};
  }
  log.warn(
    { reason: first.reason },
    'the worker key cannot be kept: after a restart this is another worker; going on',
  );
  next();
  return () => {
    cancel();
    if (!isOver) tryAgain();
  };
}
