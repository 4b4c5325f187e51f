/**
 * The demo on a terminal: a table that is drawn over itself, with what happened above it.
 *
 * Two escape codes instead of a package: up, and clear below. Where there is no terminal it is told line by line
 * (plain-lines).
 */
import { table } from '../commands/table.ts';
import type { DemoView, WorkerView } from './watch.ts';

const BAR_LENGTH = 20;

export class LiveTable {
  readonly #out: (text: string) => void;
  /** Lines of the table on the screen. */
  #drawn = 0;
  #last = '';

  constructor(out: (text: string) => void) {
    this.#out = out;
  }

  /** What happened goes above the table and stays. */
  scene(text: string): void {
    this.#out(`${this.#cleared()}${text}\n${this.#last}`);
    this.#drawn = lineCount(this.#last);
  }

  show(view: DemoView): void {
    this.#last = viewText(view);
    this.#out(`${this.#cleared()}${this.#last}`);
    this.#drawn = lineCount(this.#last);
  }

  /** Takes the table away; what happened stays. */
  close(): void {
    this.#out(this.#cleared());
    this.#last = '';
    this.#drawn = 0;
  }

  #cleared(): string {
    return this.#drawn === 0 ? '' : `\x1b[${this.#drawn}A\x1b[0J`;
  }
}

function lineCount(text: string): number {
  return text.split('\n').length - 1;
}

function viewText(view: DemoView): string {
  const most = Math.max(1, ...view.workers.map(({ answers }) => answers));
  const rows = view.workers.map((worker) => [
    worker.id,
    lifeOf(worker),
    worker.seen?.load?.toFixed(2),
    `${worker.workMs} ms`,
    worker.seen?.outstanding ?? 0,
    worker.answers,
    '█'.repeat(Math.round((BAR_LENGTH * worker.answers) / most)),
  ]);
  const hits = view.cacheHitRate === null ? '-' : `${(100 * view.cacheHitRate).toFixed(1)} %`;
  return [
    '',
    table(['WORKER', 'STATE', 'LOAD', 'TAKES', 'NOW', 'ANSWERS', ''], rows),
    `${view.seconds.toFixed(1)} s  ${view.requests} requests, ${view.failed} failed  cache hits ${hits}, ${view.dhtLookups ?? '-'} lookups  p50 ${view.p50Ms ?? '-'} ms, p99 ${view.p99Ms ?? '-'} ms`,
    '',
  ].join('\n');
}

/** What it is, and beside it what the app's sidecar thinks where that differs. */
function lifeOf({ life, seen }: WorkerView): string {
  if (life !== 'up') return seen === null ? life : `${life}, seen ${seen.state}`;
  return seen?.state ?? 'not found yet';
}

/** The demo where there is no terminal, for logs and CI: one line for what happens, and one a second for how it stands. */
export class PlainLines {
  readonly #out: (text: string) => void;

  constructor(out: (text: string) => void) {
    this.#out = out;
  }

  scene(text: string): void {
    this.#out(`${text}\n`);
  }

  show(view: DemoView): void {
    const workers = view.workers.map((worker) => `${worker.id} ${worker.answers} (${lifeOf(worker)})`);
    this.#out(
      `${view.seconds.toFixed(1).padStart(5)} s  ${view.requests} requests, ${view.failed} failed: ${workers.join(', ')}\n`,
    );
  }

  close(): void {}
}
