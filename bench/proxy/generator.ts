/**
 * One run of the load generator, from outside: its options, and the moments at which what it measures begins and ends.
 *
 * It must not know what is in front of the origin.
 */
import { createInterface } from 'node:readline';
import type { Workbench } from './workbench.ts';

/** As `load.c` prints it. */
export interface LoadReport {
  readonly seconds: number;
  readonly count: number;
  readonly errors: number;
  readonly badStatus: number;
  readonly badLength: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

export interface LoadOptions {
  readonly mode: string;
  readonly port: number;
  readonly path: string;
  readonly args: readonly string[];
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** `pid` is the generator's own. `hold` and `holdsse` go on until its promise is fulfilled. */
  onBegin?(pid: number): void | Promise<void>;
  onEnd?(pid: number): void;
}

/** Not by how long it should take, which it watches itself: against a generator that hangs. */
const LIMIT_MS = 120_000;
const LEAST_SHARE = 0.95;

export async function runLoad(bench: Workbench, program: string, options: LoadOptions): Promise<LoadReport> {
  const { mode, port, path, args, seconds, warmUpSeconds } = options;
  const started = bench.start('ends', program, [
    ...['-m', mode, '-p', String(port), '-u', path],
    ...['-s', String(seconds), '-w', String(warmUpSeconds)],
    ...args,
  ]);
  const { child, pid } = started;
  const limit = setTimeout(() => void started.stop(), LIMIT_MS);
  let report: LoadReport | null = null;
  let failure: unknown = null;
  child.stdout?.on('error', () => {});
  if (child.stdout === null) throw new Error('the generator has no output');
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'begin') {
      // Not awaited here: the end is to be seen when it comes.
      Promise.resolve(options.onBegin?.(pid))
        .catch((error: unknown) => {
          failure = error;
        })
        .finally(() => child.stdin?.end());
    } else if (line === 'end') {
      options.onEnd?.(pid);
    } else {
      report = JSON.parse(line) as LoadReport;
    }
  }
  clearTimeout(limit);
  if (failure !== null) throw failure;
  return report ?? { seconds: 0, count: 0, errors: 1, badStatus: 0, badLength: 0, p50Us: 0, p99Us: 0 };
}

/** In words, '' for none. `expectedPerSecond`: fewer by more than a few per cent are a fault. */
export function faultsOf(report: LoadReport, expectedPerSecond: number | undefined, unit: string): string {
  const { errors, badStatus, badLength, count, seconds } = report;
  const faults: string[] = [];
  if (errors > 0) faults.push(`errors: ${errors}`);
  if (badStatus > 0) faults.push(`responses other than 200: ${badStatus}`);
  if (badLength > 0) faults.push(`bodies of a wrong length: ${badLength}`);
  const perSecond = seconds > 0 ? count / seconds : 0;
  if (expectedPerSecond !== undefined && !(perSecond > expectedPerSecond * LEAST_SHARE)) {
    faults.push(`only ${perSecond.toFixed(0)} of ${expectedPerSecond} ${unit}s/s`);
  }
  return faults.join(', ');
}
