/**
 * Keeps V8's young generation small, whoever starts the program and however.
 *
 * What a proxy allocates is dead after a few milliseconds, so a large young generation gains nothing: Node 24 lets it
 * grow to 128 MB, and a busy sidecar to half as much memory again (`docs/performance.md`). V8 takes its size at the
 * start only, so the process starts itself anew, once, in its own place: same PID, same streams, same environment.
 */

/** Of each of the two halves, in MB. Smaller ones are collected so often that it costs CPU time. */
const SEMI_SPACE = '--max-semi-space-size=4';

/** Returns where nothing is to be done or can be: Node below 23.11, Windows, a size that somebody has chosen. */
export function startWithSmallYoungGeneration(): void {
  const { argv, env, execArgv, execPath, platform } = process;
  if (typeof process.execve !== 'function' || platform === 'win32') return;
  // A channel to the parent would not survive.
  if (process.connected) return;
  const isChosen = [...execArgv, env.NODE_OPTIONS ?? ''].some((option) => /semi[-_]space/.test(option));
  if (isChosen) return;
  process.execve(execPath, [execPath, SEMI_SPACE, ...execArgv, ...argv.slice(1)]);
}
