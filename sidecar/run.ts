/**
 * The sidecar as a process: start → signals → drain → exit code.
 *
 * Apart from the sidecar itself (sidecar.ts), which tests and the demo also run without a process of its own. It
 * must not know what is inside.
 */
import type { Config } from './config.ts';
import { createLog, type Log, stdoutSink } from './observe/log.ts';
import { startSidecar } from './sidecar.ts';

export interface RunOptions {
  /** The first abort drains and stops; a second signal of the process forces. */
  readonly signal?: AbortSignal;
}

/** Resolves with the exit code once the sidecar has stopped. */
export async function runSidecar(config: Config, options: RunOptions = {}): Promise<number> {
  const log = createLog({ ...config.log, workerId: config.worker.id, sink: stdoutSink() });
  // A promise of a library that nobody waited for must not end the process; what throws outside of one does.
  process.on('unhandledRejection', (err) => log.error({ err }, 'a fault in this program: please report it'));
  const sidecar = await startSidecar(config, log);
  try {
    await stopRequested(log, options.signal);
    const { signal, forget } = forced(log);
    await sidecar.drain(signal);
    forget();
  } finally {
    await sidecar.stop();
  }
  log.info({}, 'stopped');
  return 0;
}

async function stopRequested(log: Log, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = (name: string): void => {
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      signal?.removeEventListener('abort', onAbort);
      log.info({ signal: name }, 'draining: new requests are refused soon, running ones are finished');
      resolve();
    };
    const onAbort = (): void => stop('abort');
    if (signal?.aborted === true) return stop('abort');
    signal?.addEventListener('abort', onAbort);
    process.on('SIGTERM', stop);
    process.on('SIGINT', stop);
  });
}

/** A second signal: stop waiting. */
function forced(log: Log): { readonly signal: AbortSignal; readonly forget: () => void } {
  const controller = new AbortController();
  const force = (name: string): void => {
    log.warn({ signal: name }, 'forced: running requests are cut off');
    controller.abort();
  };
  process.on('SIGTERM', force);
  process.on('SIGINT', force);
  const forget = (): void => {
    process.off('SIGTERM', force);
    process.off('SIGINT', force);
  };
  return { signal: controller.signal, forget };
}
