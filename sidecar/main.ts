#!/usr/bin/env node
/**
 * The command line: which command, its help, and what the exit code is.
 *
 * Commands are loaded when they are asked for, so that the usage is shown even where the native code of the DHT does
 * not load. Everything outside (arguments, environment, streams, clock, signals) is taken here and handed on.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { catchStopSignals, type StopSignals } from './app/stop-signals.ts';
import { packageVersion } from './app/version.ts';
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './commands/command.ts';
import type { CheckMembership } from './config/membership.ts';
import { isConfigError } from './config/problems.ts';
import { nearestWord } from './core/nearest-word.ts';

/** After a command has ended. */
const LINGER_MS = 500;

interface Entry {
  readonly summary: string;
  /** Runs until a signal ends it: also one that comes while it is loaded. */
  readonly isLasting?: true;
  readonly load: () => Promise<Command>;
}

const COMMANDS: Readonly<Record<string, Entry>> = {
  run: {
    summary: 'the sidecar (default)',
    isLasting: true,
    load: async () => (await import('./commands/run.ts')).run,
  },
  demo: {
    summary: 'a whole mesh on this machine, nothing to configure',
    isLasting: true,
    load: async () => (await import('./demo/command.ts')).demo,
  },
  bootstrap: {
    summary: 'a node of the private DHT, for others to join by',
    isLasting: true,
    load: async () => (await import('./commands/bootstrap.ts')).bootstrap,
  },
  mesh: {
    summary: 'mesh new: a mesh key; mesh cert: a certificate for one worker',
    load: async () => (await import('./commands/mesh.ts')).mesh,
  },
  peers: {
    summary: 'whom the sidecar here knows',
    load: async () => (await import('./commands/peers.ts')).peers,
  },
  explain: {
    summary: 'whom it would choose for a service, and why; or what became of a request',
    load: async () => (await import('./commands/explain.ts')).explain,
  },
  pause: {
    summary: 'take the worker here, or one service of it, out for a while',
    load: async () => (await import('./commands/pause.ts')).pause,
  },
  resume: {
    summary: 'bring it back',
    load: async () => (await import('./commands/pause.ts')).resume,
  },
  reload: {
    summary: 'read the configuration anew while requests run',
    load: async () => (await import('./commands/reload.ts')).reload,
  },
  stats: { summary: 'its counters', load: async () => (await import('./commands/stats.ts')).stats },
  doctor: {
    summary: 'what is wrong, and what to do',
    load: async () => (await import('./commands/doctor.ts')).doctor,
  },
};

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, entry]) => `  ${name.padEnd(10)} ${entry.summary}`);
  return `Usage: dht-sidecar [command] [options]\n\n${lines.join('\n')}\n\nEach has --help. dht-sidecar --version says which version this is.\n`;
}

/** Of each of the two halves, in MB: at 4 it is collected so often that it costs a tenth of the CPU time. */
const SEMI_SPACE = '--max-semi-space-size=8';

/**
 * V8's young generation is kept small, whoever starts the program and however: what a proxy allocates is dead after a
 * few milliseconds, and Node 24 lets it grow to 128 MB (docs/performance.md). V8 takes its size at the start only, so
 * the process starts itself anew, once, in its own place: same PID, same streams, same environment.
 *
 * Returns where nothing is to be done or can be: Node below 23.11, Windows, a size that somebody has chosen.
 */
function startWithSmallYoungGeneration(): void {
  const { argv, env, execArgv, execPath, platform } = process;
  if (typeof process.execve !== 'function' || platform === 'win32') return;
  // A channel to the parent would not survive.
  if (process.connected) return;
  const isChosen = [...execArgv, env.NODE_OPTIONS ?? ''].some((option) => /semi[-_]space/.test(option));
  if (isChosen) return;
  process.execve(execPath, [execPath, SEMI_SPACE, ...execArgv, ...argv.slice(1)]);
}

/** For a command whose own end is quick: who asks twice does not wait for it. */
function stopSignal({ requested, forced }: StopSignals): AbortSignal {
  forced.addEventListener('abort', () => process.exit(EXIT_FAILED));
  return requested;
}

async function main(args: readonly string[]): Promise<number> {
  const first = args[0];
  const isNamed = first !== undefined && !first.startsWith('-');
  if (!isNamed && (first === '--help' || first === '-h')) {
    process.stdout.write(usage());
    return EXIT_OK;
  }
  if (first === '--version') {
    process.stdout.write(`${packageVersion()}\n`);
    return EXIT_OK;
  }
  const name = isNamed ? first : 'run';
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) {
    const near = nearestWord(name, Object.keys(COMMANDS));
    const hint = near === null ? '' : ` Did you mean ${near}?`;
    process.stderr.write(
      `dht-sidecar: no such command: ${JSON.stringify(name.slice(0, 40))}.${hint}\n\n${usage()}`,
    );
    return EXIT_USAGE;
  }
  const rest = isNamed ? args.slice(1) : args;
  if (entry.isLasting) startWithSmallYoungGeneration();
  const stops = entry.isLasting ? catchStopSignals() : null;
  const command = await entry.load();
  const end = rest.indexOf('--');
  if (rest.some((arg, index) => (arg === '--help' || arg === '-h') && (end === -1 || index < end))) {
    process.stdout.write(command.help);
    return EXIT_OK;
  }
  const { openIdentity } = await import('./mesh/membership/identity.ts');
  const { readTextFile } = await import('./config/config-file.ts');
  const { readHostFacts } = await import('./config/host-facts.ts');
  // Only now is a signal heard that came meanwhile.
  await nextTurn();
  if (stops?.requested.aborted) return EXIT_OK;
  const checkMembership: CheckMembership = (claim) => openIdentity({ ...claim, nowMs: Date.now() });
  const context: CommandContext = {
    args: rest,
    env: process.env,
    readText: readTextFile,
    host: readHostFacts(),
    checkMembership,
    version: packageVersion(),
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTerminal: process.stdout.isTTY === true,
    nowMs: () => Date.now(),
    stopSignal: () => stopSignal(stops ?? catchStopSignals()),
    stopSignals: () => stops ?? catchStopSignals(),
  };
  return await command.run(context);
}

// By itself Node opens its debugger at this signal, which whoever is on this host may then use. `--inspect` still does.
process.on('SIGUSR1', () => {});

// A reader that goes away (`| head`) is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exitCode = EXIT_FAILED;
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (isConfigError(error)) {
    process.stderr.write(`dht-sidecar: ${error.message}\n`);
    process.exitCode = EXIT_USAGE;
  } else {
    const known = error instanceof Error && typeof (error as { code?: unknown }).code === 'string';
    const text =
      error instanceof Error ? (known ? error.message : (error.stack ?? error.message)) : String(error);
    process.stderr.write(`dht-sidecar: ${text}\n`);
    process.exitCode = EXIT_FAILED;
  }
}

// Node's own end waits for every handle to be closed, and goes round for ever over one that never is: a socket that was
// destroyed while its reset was under way.
process.on('beforeExit', () => process.exit());

// A name that is being resolved, or a socket in a library's hands, may keep the process for seconds: it has ended.
setTimeout(() => process.exit(), LINGER_MS).unref();
