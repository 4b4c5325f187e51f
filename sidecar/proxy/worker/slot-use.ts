/**
 * What holds a slot of the worker, and what counts as its work: by default upgrades and the event streams of a GET hold
 * none, for a page that listens has to be able to ask meanwhile.
 */
import { isEventStream } from '../../core/http/event-stream.ts';
import { matchesAny, type SlotRule } from '../../core/worker/slot-rules.ts';
import type { IncomingHead, OutgoingHead } from '../../http/exchange.ts';

export interface SlotUseOptions {
  /** Upgrades, and event streams that a GET opens, hold one as long as they last. */
  readonly byChannels: boolean;
  /** What passes at once and holds none; null = nothing. */
  readonly free: readonly SlotRule[] | null;
  /** What holds one and says nothing of how long work takes; null = nothing. */
  readonly light: readonly SlotRule[] | null;
}

export class SlotUse {
  readonly #options: SlotUseOptions;

  constructor(options: SlotUseOptions) {
    this.#options = options;
  }

  /** It passes at once. `basePath`: what its target has before the path of the service. */
  isFree(head: OutgoingHead, basePath: string): boolean {
    const { byChannels, free } = this.#options;
    if (head.upgrade !== null && !byChannels) return true;
    return free !== null && isAmong(free, head, basePath);
  }

  /** A response that goes on without a slot, if a GET asked for it. */
  isFreeStream({ status, fields }: IncomingHead): boolean {
    return !this.#options.byChannels && isEventStream(status, fields);
  }

  /** What it takes says how long work takes. */
  isWork(head: OutgoingHead, basePath: string): boolean {
    const { light } = this.#options;
    return light === null || !isAmong(light, head, basePath);
  }
}

function isAmong(rules: readonly SlotRule[], { method, target }: OutgoingHead, basePath: string): boolean {
  return matchesAny(rules, method, target.slice(basePath.length));
}
