/**
 * The sidecar as a process: start → signals → drain → exit code.
 *
 * Apart from the sidecar itself (sidecar.ts), which tests and the demo also run without a process of its own. It
 * must not know what is inside.
 */
import type { Config } from './config.ts';
import { createStdoutLog, type Log } from './observe/log.ts';
import { startSidecar } from './sidecar.ts';

export interface RunOptions {
  /** The first abort drains and stops; a second signal of the process forces. */
  readonly signal?: AbortSignal;
}

/** Resolves with the exit code once the sidecar has stopped. */
export async function runSidecar(config: Config, options: RunOptions = {}): Promise<number> {
  const log = createStdoutLog({ ...config.log, workerId: config.worker.id });
  // A promise of a library that nobody waited for must not end the process; what throws outside of one does.
  process.on('unhandledRejection', (err) => log.error({ err }, 'a fault in this program: please report it'));
  const sidecar = await startSidecar(config, log);
  const { requested, cut, forget } = stops(log, options.signal);
  try {
    await requested;
    await sidecar.drain(cut);
    forget();
  } finally {
    await sidecar.stop();
  }
  log.info({}, 'stopped');
  return 0;
}

interface Stops {
  /** Resolves at the first signal. */
  readonly requested: Promise<void>;
  /** Aborted by the second: stop waiting. */
  readonly cut: AbortSignal;
  forget(): void;
}

/** One listener for both signals: between two there would be a moment in which a signal just kills the process. */
function stops(log: Log, signal: AbortSignal | undefined): Stops {
  const cut = new AbortController();
  let drain = (): void => {};
  const requested = new Promise<void>((resolve) => {
    drain = resolve;
  });
  let isDraining = false;
  const stop = (name: string): void => {
    if (isDraining) {
      log.warn({ signal: name }, 'forced: running requests are cut off');
      cut.abort();
      return;
    }
    isDraining = true;
    log.info({ signal: name }, 'draining: new requests are refused soon, running ones are finished');
    drain();
  };
  const onAbort = (): void => {
    if (!isDraining) stop('abort');
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted === true) onAbort();
  const forget = (): void => {
    process.off('SIGTERM', stop);
    process.off('SIGINT', stop);
    signal?.removeEventListener('abort', onAbort);
  };
  return { requested, cut: cut.signal, forget };
}
