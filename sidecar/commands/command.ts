/**
 * What a command of `dht-sidecar` is, and what it gets.
 *
 * Everything that a command touches outside comes in here, so that tests run commands in-process and main stays a list
 * of names.
 */
import type { StopSignals } from '../app/stop-signals.ts';
import type { ConfigInput } from '../config/load.ts';

/** Exit codes of the contract. */
export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 64;

export interface CommandContext extends ConfigInput {
  readonly version: string;
  /** Standard output and error; the text carries its line ends. */
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly isTerminal: boolean;
  /** Unix ms. */
  readonly nowMs: () => number;
  /** Aborted at the first SIGTERM, SIGINT or SIGHUP; a second one that forces ends the process. */
  readonly stopSignal: () => AbortSignal;
  /** The same for a command that has something to cut off. */
  readonly stopSignals: () => StopSignals;
}

export interface Command {
  /** The whole text of `--help`. */
  readonly help: string;
  /** The exit code. May throw a ConfigError (64) or any other error (1). */
  run(context: CommandContext): Promise<number>;
}
