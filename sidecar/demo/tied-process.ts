/**
 * One process of this program that ends with the one that started it, and what it has said so far.
 *
 * Its events are its log lines: who starts it waits for a line, not for a time. Its own process group, so that a Ctrl-C
 * reaches the starter alone, who then decides.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** One line of JSON on standard output. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface TiedProcessOptions {
  /** For messages. */
  readonly name: string;
  /** Path of the module to run. */
  readonly module: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Program with arguments that starts it, and becomes it: `nsenter … --`. */
  readonly through?: readonly string[];
}

/** The same ending as this file: `.ts` in the sources, `.js` in dist. */
const ENDING = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const TIE = new URL(`./tied${ENDING}`, import.meta.url).href;

/** Lines kept for those who ask later, and of those the ones shown when it fails. */
const KEPT_LINES = 500;
const SHOWN_LINES = 12;

/** The path of a module of this program, named without its ending, relative to the folder of this file. */
export function modulePath(name: string): string {
  return fileURLToPath(new URL(`${name}${ENDING}`, import.meta.url));
}

export class TiedProcess {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #watchers = new Set<(line: LogLine) => void>();
  /** Resolves, with how it ended, once it has ended and all its output is read. */
  readonly ended: Promise<string>;
  #hasEnded = false;

  constructor({ name, module, args, env, through = [] }: TiedProcessOptions) {
    this.name = name;
    const [program = process.execPath, ...rest] = [...through, process.execPath];
    const child = spawn(program, [...rest, '--import', TIE, module, ...args], {
      env: { ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    // Nothing is ever written to it; it may report that the other end is gone.
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout }).on('line', (line) => this.#said(line));
    createInterface({ input: child.stderr }).on('line', (line) => this.#keep(line));
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(`could not be started: ${error.message}`));
      child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    void this.ended.then(() => {
      this.#hasEnded = true;
    });
  }

  /** 0 if it could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /**
   * What `pick` makes of the first line, past or coming, for which it is not null. Rejects, with the last lines,
   * when the process ends before it says one.
   */
  async line<T>(pick: (line: LogLine) => T | null): Promise<T> {
    for (const line of this.#lines) {
      const found = picked(line, pick);
      if (found !== null) return found;
    }
    let watcher: (line: LogLine) => void = () => {};
    const coming = new Promise<T>((resolve) => {
      watcher = (line) => {
        const found = pick(line);
        if (found !== null) resolve(found);
      };
    });
    this.#watchers.add(watcher);
    const never = this.ended.then((how) => {
      throw new Error(`${this.name} ended (${how})${this.lastLines()}`);
    });
    try {
      return await Promise.race([coming, never]);
    } finally {
      this.#watchers.delete(watcher);
    }
  }

  /** The last it said, each line on a line of its own and indented; '' for nothing. */
  lastLines(count = SHOWN_LINES): string {
    return this.#lines
      .slice(-count)
      .map((line) => `\n    ${line}`)
      .join('');
  }

  /** Sends a signal; nothing if it has ended. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended;
  }

  /** SIGTERM, and SIGKILL if that takes longer than `limitMs`. Resolves with how it ended. */
  async stop(limitMs: number): Promise<string> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), limitMs);
    const how = await this.ended;
    clearTimeout(timer);
    return how;
  }

  #said(text: string): void {
    this.#keep(text);
    const line = parsed(text);
    if (line !== null) for (const watcher of [...this.#watchers]) watcher(line);
  }

  #keep(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
  }
}

function picked<T>(text: string, pick: (line: LogLine) => T | null): T | null {
  const line = parsed(text);
  return line === null ? null : pick(line);
}

function parsed(text: string): LogLine | null {
  if (!text.startsWith('{')) return null;
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return null;
  }
}
