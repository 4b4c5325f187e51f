/**
 * Latency: one histogram by service, route and outcome, with its children resolved once.
 *
 * prom-client resolves and checks the labels at each call otherwise, which costs more than observing.
 */
import type { Histogram } from 'prom-client';
import { OUTCOMES, type OutcomeLabel, ROUTES, type RouteLabel } from './labels.ts';

type Child = Pick<Histogram.Internal<string>, 'observe'>;

export class Latency {
  readonly #histogram: Histogram<'service' | 'route' | 'outcome'>;
  readonly #children = new Map<string, (Child | undefined)[]>();

  constructor(histogram: Histogram<'service' | 'route' | 'outcome'>) {
    this.#histogram = histogram;
  }

  /** Drops what is not a duration: prom-client throws on NaN, and a clock may have been set back. */
  observeMs(service: string, route: RouteLabel, outcome: OutcomeLabel, ms: number): void {
    if (!isDuration(ms)) return;
    let children = this.#children.get(service);
    if (children === undefined) {
      children = new Array<Child | undefined>(ROUTES.length * OUTCOMES.length).fill(undefined);
      this.#children.set(service, children);
    }
    const slot = ROUTES.indexOf(route) * OUTCOMES.length + OUTCOMES.indexOf(outcome);
    let child = children[slot];
    if (child === undefined) {
      child = this.#histogram.labels({ service, route, outcome });
      children[slot] = child;
    }
    child.observe(ms / 1000);
  }
}

export function isDuration(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}
