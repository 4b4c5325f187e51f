/**
 * Where the bench runs: the programs it needs, a folder for what it makes, and the processes it starts, each on its
 * core.
 *
 * All of them end with the bench: at its end, at Ctrl-C, and (by the kernel, where `setpriv` is there) when it is
 * killed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Under test, or at its ends: generator and origin. */
export type Role = 'system' | 'ends';

export interface Started {
  readonly pid: number;
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

export class MissingProgram extends Error {}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAX_SAID = 4_096;

const STOP_SIGNALS = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;

/** Program → Debian packages. */
const PACKAGES = { cc: 'gcc libc6-dev', nginx: 'nginx-light', haproxy: 'haproxy' } as const;

export type Program = keyof typeof PACKAGES;

export const PROGRAMS = Object.keys(PACKAGES) as Program[];

export class Workbench {
  readonly folder = mkdtempSync(join(tmpdir(), 'bench-proxy-'));
  /** How the processes are pinned, in words. */
  readonly pinning: string;
  readonly #through: Record<Role, readonly string[]>;
  readonly #running = new Set<number>();
  #isClosed = false;

  constructor() {
    const { said, through } = pinned();
    this.pinning = said;
    this.#through = through;
    process.once('exit', () => this.close());
    for (const [signal, code] of STOP_SIGNALS) process.once(signal, () => process.exit(code));
  }

  /** The bench's own C program, built into the folder. */
  compile(name: string): string {
    const program = join(this.folder, name);
    const source = join(ROOT, 'bench/proxy', `${name}.c`);
    const { status, stderr } = spawnSync(findProgram('cc'), ['-O2', '-o', program, source], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`cc cannot compile ${source}:\n${stderr}`);
    return program;
  }

  /** `npm run build`; the path of its main module. */
  build(): string {
    const { status, stdout, stderr } = spawnSync('npm', ['run', '--silent', 'build'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`npm run build failed:\n${stdout}${stderr}`);
    return join(ROOT, 'dist/main.js');
  }

  /** Its standard input and output are pipes; its last words are in the error when it ends by itself too early. */
  start(role: Role, program: string, args: readonly string[], env: Record<string, string> = {}): Started {
    const [command = program, ...rest] = [...this.#through[role], program, ...args];
    // A process group of its own: Ctrl-C reaches the bench alone, which then ends it.
    const child = spawn(command, rest, {
      env: { PATH: process.env.PATH ?? '', ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    const { pid } = child;
    if (pid === undefined) throw new Error(`${command} cannot be started`);
    this.#running.add(pid);
    let said = '';
    child.stderr.on('data', (text) => {
      said = (said + String(text)).slice(-MAX_SAID);
    });
    child.stdin.on('error', () => {});
    let isStopped = false;
    const gone = new Promise<void>((resolve) => {
      child.once('error', () => resolve());
      child.once('close', (code, signal) => {
        this.#running.delete(pid);
        if (!isStopped && !this.#isClosed && code !== 0)
          console.error(`${program} ended (${signal ?? code}): ${said.trim()}`);
        resolve();
      });
    });
    return {
      pid,
      child,
      stop() {
        isStopped = true;
        end(pid);
        return gone;
      },
    };
  }

  /** Ends whatever is still running, and removes the folder. */
  close(): void {
    this.#isClosed = true;
    for (const pid of this.#running) end(pid);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The process and its children: a group, for each is started in one of its own. */
function end(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Already gone.
  }
}

/** Throws, with what to install, if one of them is missing. */
export function requirePrograms(names: readonly Program[]): void {
  const missing = names.filter((name) => placeOf(name) === null);
  if (missing.length === 0) return;
  const packages = missing.map((name) => PACKAGES[name]).join(' ');
  throw new MissingProgram(`${missing.join(' and ')} not found (Debian: apt-get install ${packages})`);
}

export function findProgram(name: Program): string {
  requirePrograms([name]);
  return placeOf(name) ?? name;
}

/** Debian keeps some where only root looks. */
function placeOf(name: Program): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const files = folders.map((folder) => join(folder, name));
  return files.find((file) => isProgram(file)) ?? null;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The commands through which processes of each role are started. */
function pinned(): { said: string; through: Record<Role, readonly string[]> } {
  const dying = ['setpriv', '--pdeathsig', 'KILL'];
  const tie = works(dying) ? dying : [];
  const [systemCpu, endsCpu] = allowedCpus();
  const not = (why: string) => ({ said: `not pinned: ${why}`, through: { system: tie, ends: tie } });
  if (systemCpu === undefined || endsCpu === undefined) return not('one core for all');
  const onCpu = (cpu: number): string[] => ['taskset', '-c', String(cpu)];
  if (!works(onCpu(endsCpu))) return not('taskset is missing (Debian: util-linux)');
  return {
    said: `systems on cpu ${systemCpu}, generator and origin on cpu ${endsCpu}`,
    through: { system: [...tie, ...onCpu(systemCpu)], ends: [...tie, ...onCpu(endsCpu)] },
  };
}

function works(through: readonly string[]): boolean {
  const [command = '', ...args] = [...through, 'true'];
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

function allowedCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  return list.split(',').flatMap((range) => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}
