/**
 * The sidecar as a process: start → signals → drain → exit code.
 *
 * Apart from the sidecar itself (sidecar.ts), which tests and the demo also run without a process of its own.
 */
import { once } from 'node:events';
import type { Config } from '../config/config.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { Log } from '../core/log.ts';
import { createStdoutLog } from '../observe/log.ts';
import type { ConfigSource } from './reload.ts';
import { type RunningSidecar, startSidecar } from './sidecar.ts';
import type { StopSignals } from './stop-signals.ts';

/** Resolves with the exit code once the sidecar has stopped. */
export async function runSidecar(
  loaded: LoadedConfig,
  read: () => LoadedConfig,
  stops: StopSignals,
): Promise<number> {
  const { config } = loaded;
  const { log, setLevel: setLogLevel } = createStdoutLog({ ...config.log, workerId: config.worker.id });
  let running: RunningSidecar | null = null;
  // Caught from now on: one that comes while it starts would end the process.
  process.on('SIGUSR2', () => {
    running?.reload().catch((err) => log.error({ err }, 'a fault in this program: please report it'));
  });
  // A promise of a library that nobody waited for must not end the process; what throws outside of one does.
  process.on('unhandledRejection', (err) => log.error({ err }, 'a fault in this program: please report it'));
  const { requested, forced } = stops;
  const sidecar = await startUnless(requested, config, log, { loaded, read, setLogLevel });
  if (sidecar === null) {
    log.info({ signal: requested.reason }, 'stopped while it started');
    return 0;
  }
  running = sidecar;
  try {
    if (!requested.aborted) await once(requested, 'abort');
    log.info(
      { signal: requested.reason },
      'draining: new requests are refused soon, running ones are finished',
    );
    forced.addEventListener('abort', () =>
      log.warn({ signal: forced.reason }, 'forced: running requests are cut off'),
    );
    await sidecar.drain(forced);
    stops.forget();
  } finally {
    await sidecar.stop();
  }
  log.info({}, 'stopped');
  return 0;
}

/** Null when it was asked to stop before it listened: nothing is left of it then. */
async function startUnless(
  requested: AbortSignal,
  config: Config,
  log: Log,
  source: ConfigSource,
): Promise<RunningSidecar | null> {
  try {
    return await startSidecar(config, log, requested, source);
  } catch (error) {
    if (requested.aborted && error === requested.reason) return null;
    throw error;
  }
}
