/**
 * The sidecar put together: from a configuration to listeners, and back to nothing at its end.
 *
 * Not yet composed; here so that the command line is whole. It must not read the configuration itself.
 */
import type { Config } from './config.ts';
import { SidecarError } from './core/errors.ts';

/** Resolves with the exit code once the sidecar has stopped. */
export function runSidecar(_config: Config, _options: { signal?: AbortSignal } = {}): Promise<number> {
  return Promise.reject(new SidecarError('internal', 'the sidecar is not composed yet'));
}
