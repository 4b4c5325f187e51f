/**
 * A process of the fleet that is started, struck and started again, always in the same way.
 *
 * Knows which ends were asked for, since all others are crashes. It must not know what it runs.
 */
import type { TiedProcess } from '../sidecar/demo/tied-process.ts';

const STOP_LIMIT_MS = 30_000;

/** A process that is started again and again. */
export class Member {
  readonly name: string;
  readonly #start: () => TiedProcess;
  readonly #isUp: (process: TiedProcess) => Promise<unknown>;
  readonly #onCrash: (name: string, how: string) => void;
  #process: TiedProcess | null = null;
  #isAsked = false;

  constructor(
    name: string,
    start: () => TiedProcess,
    isUp: (process: TiedProcess) => Promise<unknown>,
    onCrash: (name: string, how: string) => void,
  ) {
    this.name = name;
    this.#start = start;
    this.#isUp = isUp;
    this.#onCrash = onCrash;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** The last that its present process has said. */
  lastLines(count: number): string {
    return this.#process?.lastLines(count) ?? '';
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    const process = this.#start();
    this.#process = process;
    this.#isAsked = false;
    void process.ended.then((how) => {
      if (!this.#isAsked && this.#process === process)
        this.#onCrash(this.name, `${how}${process.lastLines()}`);
    });
    await this.#isUp(process);
  }

  async kill(): Promise<void> {
    this.#isAsked = true;
    await this.#process?.kill();
  }

  /** SIGTERM; resolves with how it ended. */
  async stop(): Promise<string> {
    this.#isAsked = true;
    return (await this.#process?.stop(STOP_LIMIT_MS)) ?? 'not started';
  }

  suspend(): void {
    this.#process?.signal('SIGSTOP');
  }

  resume(): void {
    this.#process?.signal('SIGCONT');
  }
}
