/**
 * The second look: how those that were warming are now, before a request is told that nobody is ready.
 *
 * What is known of a warming worker is up to a second old, and the one that was ready may be gone by now. All who ask
 * at the same time share one look, and the next one waits a moment, so that an app which goes on asking while a model
 * loads costs its sidecar next to nothing.
 */
import { type Clock, within } from '../clock.ts';

export interface WarmingCheckOptions {
  readonly clock: Clock;
  /** Never rejects. */
  readonly look: (service: string) => Promise<void>;
}

/** Between the beginnings of two looks for one service. */
const PAUSE_MS = 50;

/** Nobody waits longer: one that does not answer is not ready. */
const LIMIT_MS = 300;

export class WarmingCheck {
  readonly #options: WarmingCheckOptions;
  /** Not begun yet: who comes now may join. */
  readonly #planned = new Map<string, Promise<void>>();
  /** By service, with those alone that were looked for a moment ago. */
  readonly #lastMs = new Map<string, number>();

  constructor(options: WarmingCheckOptions) {
    this.#options = options;
  }

  /** Resolves after a look that began later than now, or when it takes too long. Never rejects. */
  look(service: string): Promise<void> {
    const { clock } = this.#options;
    let planned = this.#planned.get(service);
    if (planned === undefined) {
      planned = this.#plan(service);
      this.#planned.set(service, planned);
    }
    return within(clock, LIMIT_MS, planned, undefined);
  }

  #plan(service: string): Promise<void> {
    const { clock, look } = this.#options;
    const nowMs = clock.monotonicMs();
    const waitMs = (this.#lastMs.get(service) ?? Number.NEGATIVE_INFINITY) + PAUSE_MS - nowMs;
    return new Promise((resolve) => {
      clock.after(Math.max(0, waitMs), () => {
        this.#planned.delete(service);
        this.#lastMs.set(service, clock.monotonicMs());
        clock.after(PAUSE_MS, () => {
          if (!this.#planned.has(service)) this.#lastMs.delete(service);
        });
        void look(service).then(resolve);
      });
    });
  }
}
