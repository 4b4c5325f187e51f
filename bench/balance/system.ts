/**
 * What is compared: something with a few entries that share nothing, in front of a pool of workers.
 *
 * It must not know how it balances.
 */
import type { Mishap } from './scenarios.ts';

export interface System {
  readonly name: string;
  /** Where requests go: `http://127.0.0.1:port` and a path without the slash at the end. */
  readonly entries: readonly string[];
  /** The mishap has come to the worker: what is beside it goes too. */
  befall(mishap: Mishap): Promise<void>;
  /** What to say of the run afterwards; '' for nothing. */
  notes(): Promise<string>;
  stop(): Promise<void>;
}
