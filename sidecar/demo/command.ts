/**
 * `dht-sidecar demo`: the whole system on this machine, with nothing to configure.
 *
 * Options, where it is shown, and the exit code; the rest is in demo/. Nothing of the environment's or a file's
 * configuration counts here: the demo is the same on every machine.
 */
import { parseArgs } from 'node:util';
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from '../commands/command.ts';
import { ConfigError } from '../config/problems.ts';
import { messageOf } from '../core/errors.ts';
import { newMeshKey } from '../mesh/membership/mesh-keys.ts';
import { LiveTable, PlainLines } from './live-table.ts';
import { DemoMesh } from './mesh.ts';
import { CPU_WORKER, gpuWorkers } from './mesh-worker.ts';
import { playDemo, type Stage } from './scenario.ts';
import { isGood, summaryText } from './summary.ts';

const MAX_WORKERS = 12;
const MAX_SECONDS = 3_600;
const TERMINAL_TICK_MS = 250;
const LINE_TICK_MS = 1_000;

export const demo: Command = {
  help: `Usage: dht-sidecar demo [--workers 3] [--seconds 10] [--json]

The whole system on this machine, on loopback alone: a private DHT, workers with a sidecar each as processes of
their own, and an app that sends requests through a sidecar. The workers report loads from 0.2 to 0.8 and are
differently fast. Half-way the first is killed with its sidecar (SIGKILL), and started again soon after. Ends with
what each worker got, the cache hit rate, latencies and failures, and leaves no process behind.

  --workers N   1 to ${MAX_WORKERS}; with one, nobody is killed
  --seconds S   of traffic, 2 to ${MAX_SECONDS}; it goes on a little longer if the restarted worker was not used yet
  --json        nothing but one object with all figures at the end

Exit code 0: no request failed, and the worker that was started again was used again.
`,

  async run(context) {
    const { workers, seconds, isJson } = optionsOf(context);
    const end = new AbortController();
    const mesh = new DemoMesh({
      workers: gpuWorkers(workers),
      app: CPU_WORKER,
      meshKey: newMeshKey(),
      env: context.env,
      onLoss: (error) => end.abort(error),
    });
    const stopped = context.stopSignal();
    stopped.addEventListener('abort', () => end.abort(new Error('interrupted')), { once: true });
    const stage = stageOf(context, isJson);
    const tickMs = context.isTerminal ? TERMINAL_TICK_MS : LINE_TICK_MS;
    try {
      const report = await playDemo({ mesh, seconds, end: end.signal, stage, tickMs });
      stage.close();
      context.out(isJson ? `${JSON.stringify(report)}\n` : summaryText(report, mesh.workers));
      return isGood(report) ? EXIT_OK : EXIT_FAILED;
    } catch (error) {
      stage.close();
      context.err(`dht-sidecar demo: ${messageOf(error)}\n`);
      return EXIT_FAILED;
    }
  },
};

function stageOf({ isTerminal, out }: CommandContext, isJson: boolean): Stage & { close(): void } {
  if (isJson) return { scene: () => {}, show: () => {}, close: () => {} };
  return isTerminal ? new LiveTable(out) : new PlainLines(out);
}

function optionsOf({ args }: CommandContext): { workers: number; seconds: number; isJson: boolean } {
  const problems: string[] = [];
  const number = (name: string, text: string, min: number, max: number, isWhole: boolean): number => {
    const value = /^\d{1,6}(?:\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value;
    problems.push(`--${name}: must be a ${isWhole ? 'whole ' : ''}number from ${min} to ${max}`);
    return min;
  };
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        workers: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '10' },
        json: { type: 'boolean', default: false },
      },
    });
    const workers = number('workers', values.workers, 1, MAX_WORKERS, true);
    const seconds = number('seconds', values.seconds, 2, MAX_SECONDS, false);
    if (problems.length === 0) return { workers, seconds, isJson: values.json };
  } catch (error) {
    problems.push(`demo: ${(error as Error).message}`);
  }
  throw new ConfigError(problems);
}
