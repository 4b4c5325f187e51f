/**
 * The demo where there is no terminal: one line for what happens, and one a second for how it stands.
 *
 * For logs and CI, where a table drawn over itself would be rubbish. It must not know where the figures come from.
 */
import { lifeOf } from './live-table.ts';
import type { DemoView } from './watch.ts';

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
