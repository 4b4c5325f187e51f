/**
 * The drain: in which order a sidecar lets go (design, "When things fail", SIGTERM).
 *
 * Its order is the point, so it stands alone: withdrawn first, inbound still open for those who have not heard; then
 * inbound ends, while outbound goes on for the worker's own last calls; then outbound ends, once the apps here have
 * nothing more to ask: where everything is stopped at once, they are still at work.
 */

import type { InFlightCount } from '../http/in-flight-count.ts';
import type { HttpListener } from '../http/listener.ts';

interface Side {
  readonly listener: HttpListener;
  readonly activity: InFlightCount;
}

export interface DrainOptions {
  /** New requests of peers are still taken for so long. */
  readonly acceptMs: number;
  /** Then the running ones may take so long. */
  readonly waitMs: number;
  /** Apps that have asked for nothing for so long are done. */
  readonly quietMs: number;
  /** Stop waiting. */
  readonly cut: AbortSignal;
  /** Takes this worker out of the directory. */
  readonly withdraw: () => Promise<void>;
  /** From now on new requests of peers are refused as `draining`. */
  readonly close: () => void;
  readonly inbound: Side;
  readonly outbound: Side;
}

export async function drain(options: DrainOptions): Promise<void> {
  const { acceptMs, waitMs, quietMs, cut, inbound, outbound } = options;
  const withdrawn = options.withdraw();
  await pause(acceptMs, cut);
  options.close();
  inbound.listener.drain();
  await withdrawn;
  const untilMs = performance.now() + waitMs;
  const leftMs = (): number => Math.max(0, untilMs - performance.now());
  await inbound.activity.idle(leftMs(), cut);
  await outbound.activity.quiet(quietMs, leftMs(), cut);
  outbound.listener.stopAccepting();
  outbound.listener.drain();
  await outbound.activity.idle(leftMs(), cut);
}

function pause(ms: number, cut: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (cut.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      cut.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    cut.addEventListener('abort', done);
  });
}
