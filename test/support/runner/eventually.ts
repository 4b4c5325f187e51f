/**
 * Waits for a condition that nothing announces: what one sidecar shows once another one's news has reached it.
 *
 * One place that polls, with a limit that only ends a test which would hang; it is no assertion of speed. Who has an
 * event to wait for takes that.
 */
import { setTimeout as pause } from 'node:timers/promises';

const LIMIT_MS = 30_000;
const PAUSE_MS = 20;

/** Asks until `isSo` holds and returns that answer. On failure the error shows the last one, or the last fault. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  isSo: (answer: T) => boolean,
): Promise<T> {
  const giveUpMs = performance.now() + LIMIT_MS;
  for (;;) {
    let last: unknown;
    try {
      const answer = await ask();
      if (isSo(answer)) return answer;
      last = answer;
    } catch (fault) {
      last = fault;
    }
    if (performance.now() > giveUpMs) {
      const shown = last instanceof Error ? String(last.stack) : JSON.stringify(last, null, 1);
      throw new Error(`${what}: not within ${LIMIT_MS} ms; last seen: ${shown}`);
    }
    await pause(PAUSE_MS);
  }
}
