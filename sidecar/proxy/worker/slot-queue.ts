/**
 * Requests that wait for a slot of one service, and the ways in which they leave: with a slot, with their client, at
 * their deadline, taken back by their caller, or turned away by the one who pauses the worker.
 */
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { Admission, Slot } from '../../core/worker/admission.ts';
import type { AttemptOptions } from '../../http/attempt.ts';
import type { Lack, Left } from './worker-fault.ts';

export interface Waiter extends Pick<AttemptOptions, 'deadline'> {
  readonly relay: Pick<AttemptOptions['relay'], 'isGone' | 'listen'>;
  readonly callerKey: string;
  readonly nonce?: string;
  readonly expectedQueue: number | null;
  readonly sinceMs: number;
}

/** Remembered of those given back: more than come back to ask again. */
const MAX_GIVEN_BACK = 4_096;

export class SlotQueue {
  readonly #admission: Admission;
  /** Those whose callers may want them back. */
  readonly #cancellable = new Map<string, () => boolean>();
  readonly #waiting = new Set<(why: Left) => boolean>();
  readonly #cancelled = new BoundedCache<string, true>(MAX_GIVEN_BACK, () => {});

  constructor(admission: Admission) {
    this.#admission = admission;
  }

  /** All that wait leave as `paused`. */
  turnAway(): void {
    for (const leave of [...this.#waiting]) leave('paused');
  }

  /** False when it does not wait here, or no more; the same again for who asks again. */
  cancel(callerKey: string, nonce: string): boolean {
    const handle = handleOf(callerKey, nonce);
    if (this.#cancellable.get(handle)?.() === true) this.#cancelled.set(handle, true);
    return this.#cancelled.get(handle) === true;
  }

  /** A slot; or why there is none. A client that leaves, or whose deadline passes, while it waits leaves the queue. */
  wait(waiter: Waiter): Promise<Slot | Lack | Left> {
    const { relay, expectedQueue, sinceMs, deadline, callerKey, nonce } = waiter;
    const handle = nonce === undefined ? null : handleOf(callerKey, nonce);
    return new Promise((resolve) => {
      let leaving: ((why: Left) => boolean) | null = null;
      const settle = (end: Slot | Lack | Left): void => {
        if (handle !== null) this.#cancellable.delete(handle);
        if (leaving !== null) this.#waiting.delete(leaving);
        relay.listen(null);
        resolve(end);
      };
      const acquired = this.#admission.acquire({
        expectedQueue,
        sinceMs,
        caller: callerKey,
        onGranted: settle,
        onDisplaced: () => settle('queue_full'),
      });
      if (acquired.kind === 'granted') resolve(acquired);
      else if (acquired.kind === 'saturated') resolve(acquired.reason);
      else {
        const leave = (why: Left): boolean => {
          if (!acquired.cancel()) return false;
          settle(why);
          return true;
        };
        leaving = leave;
        this.#waiting.add(leave);
        if (handle !== null) this.#cancellable.set(handle, () => leave('cancelled'));
        relay.listen({ onClientDrain: () => {}, onGone: () => leave('gone') });
        if (relay.isGone) leave('gone');
        void deadline?.then(() => leave('late'));
      }
    });
  }
}

function handleOf(callerKey: string, nonce: string): string {
  return `${callerKey}/${nonce}`;
}
