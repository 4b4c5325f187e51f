/**
 * One program that serves a service of this worker: where it is reached, how it stands, and what it has in hand.
 *
 * A service has one as a rule, and several where a process runs for each GPU: they share the queue of the service, and
 * each has its own slots, health and judgement.
 */
import type { Code } from '../../core/errors.ts';
import type { SentHost } from '../../core/forwarding/mount.ts';
import type { Answer } from '../../core/http/answer.ts';
import { hostHeader } from '../../core/http/base-url.ts';
import { ejectIfOutlier } from '../../core/peers/outlier.ts';
import { Standing } from '../../core/peers/standing.ts';
import type { Admission } from '../../core/worker/admission.ts';
import { type Origin, placeOf } from '../../http/exchange.ts';
import type { AtWork, WorkerHealth } from './worker-health.ts';

export interface InstanceOptions {
  readonly origin: Origin;
  /** As it is shown. */
  readonly url: string;
  /** Path of its URL without a trailing slash; '' for none. */
  readonly basePath: string;
  readonly health: Pick<WorkerHealth, 'isReady' | 'isUntrusted' | 'reason' | 'suspect'>;
}

/** Where it is known how long its requests take, it may be silent for so many times that, and for so long at least. */
const SILENT_RATIO = 20;
const SILENT_MS = 60_000;

/** What one said of its load counts so long beside what the others say. */
const SAID_MS = 10_000;

export class WorkerInstance {
  readonly origin: Origin;
  readonly url: string;
  readonly basePath: string;
  /** Of its URL, as a Host field says it. */
  readonly host: string;
  /** Of the URLs that it makes of itself. */
  readonly scheme: 'http' | 'https';
  /** Where the program listens, whatever it is asked for. */
  readonly place: string;
  readonly sentHost: SentHost;
  readonly health: Pick<WorkerHealth, 'isReady' | 'isUntrusted' | 'reason' | 'suspect'>;
  /** By its answers, beside the others of its service; not kept for one that is alone. */
  readonly standing = new Standing();
  /** The others of its service. */
  siblings: readonly WorkerInstance[] = [];
  /** Requests that hold a slot. */
  inFlight = 0;
  /** What is open there without one. */
  open = 0;
  /** Counts up: who was chosen longest ago comes first among equals. */
  chosenAt = 0;
  /** Responses that are coming to those who hold a slot. */
  coming = 0;
  /** Monotonic ms until which it is known to be left out. */
  barredUntilMs = Number.NEGATIVE_INFINITY;
  /** Monotonic ms at which it last gave a sign, or was given the first of the requests that it has. */
  signMs = Number.NEGATIVE_INFINITY;
  #said: { readonly load: number; readonly atMs: number } | null = null;

  constructor({ origin, url, basePath, health }: InstanceOptions, sentHost: SentHost) {
    this.origin = origin;
    this.url = url;
    this.basePath = basePath;
    this.host = hostHeader(origin);
    this.scheme = origin.scheme === 'https' ? 'https' : 'http';
    this.place = placeOf(origin);
    this.sentHost = sentHost;
    this.health = health;
  }

  /**
   * A response that stands still ends by `timeouts.idle`, so one that goes on moves; and no worker is silent about all
   * that it has for longer than one answer may take.
   */
  atWork(headMs: number, usualMs: number | null): AtWork {
    if (this.coming > 0) return 'moves';
    if (this.inFlight === 0) return 'no';
    const bearableMs = usualMs === null ? headMs : Math.max(SILENT_MS, SILENT_RATIO * usualMs);
    return performance.now() - this.signMs < Math.min(headMs, bearableMs) ? 'waits' : 'no';
  }

  /** By its answers, others come first. */
  isLeftOut(nowMs: number): boolean {
    return this.standing.health.isEjected(nowMs) || this.standing.isFull(this.inFlight, nowMs);
  }

  /** It is ready, and its answers are as good as those of the others. */
  isSound(nowMs: number): boolean {
    return this.health.isReady && !this.standing.health.isEjected(nowMs) && !this.standing.isSetAside(nowMs);
  }

  /** Of `limit` slots those that may be used now. One that is not sound keeps those that it has, and no others. */
  slots(limit: number, nowMs: number): number {
    if (!this.isSound(nowMs)) return Math.min(limit, this.inFlight);
    return Math.min(limit, this.standing.fullAt(nowMs) ?? limit);
  }

  /** Its own word of its load, 0..1. */
  said(load: number, nowMs: number): void {
    this.#said = { load, atMs: nowMs };
  }

  saidLoad(nowMs: number): number | null {
    return this.#said !== null && nowMs - this.#said.atMs < SAID_MS ? this.#said.load : null;
  }
}

interface InstancesOptions {
  /** At least one. */
  readonly instances: readonly InstanceOptions[];
  readonly sentHost: SentHost;
  /** Requests that each of them serves at once; null = not limited. */
  readonly concurrencyEach: number | null;
  /** Is told how many slots they have together. */
  readonly admission: Pick<Admission, 'resize'>;
}

/** All that serve one service. */
export class WorkerInstances {
  readonly all: readonly WorkerInstance[];
  readonly first: WorkerInstance;
  readonly hasSeveral: boolean;
  /** Requests that each of them serves at once; null = not limited. */
  readonly #concurrencyEach: number | null;
  readonly #admission: Pick<Admission, 'resize'>;
  #choices = 0;

  constructor({ instances, sentHost, concurrencyEach, admission }: InstancesOptions) {
    this.all = instances.map((each) => new WorkerInstance(each, sentHost));
    for (const each of this.all) each.siblings = this.all.filter((other) => other !== each);
    this.first = this.all[0] as WorkerInstance;
    this.hasSeveral = this.all.length > 1;
    this.#concurrencyEach = concurrencyEach;
    this.#admission = admission;
  }

  /** As it is shown. */
  get address(): string {
    return this.hasSeveral ? this.all.map(({ url }) => url).join(', ') : this.first.url;
  }

  /** The one with this URL; null = none has it, or none is asked for. */
  at(url: string | null): WorkerInstance | null {
    return url === null ? null : (this.all.find((each) => each.url === url) ?? null);
  }

  get isReady(): boolean {
    if (!this.hasSeveral) return this.first.health.isReady;
    for (const { health } of this.all) if (health.isReady) return true;
    return false;
  }

  /** What the last checks saw. */
  get reason(): string {
    if (!this.hasSeveral) return this.first.health.reason;
    return this.all.map(({ url, health }) => `${url}: ${health.reason}`).join('; ');
  }

  /** Why they take nothing while none is ready. */
  get unready(): { readonly code: Code; readonly detail: string } {
    const isUntrusted = this.all.every(({ health }) => health.isUntrusted);
    const code = isUntrusted ? 'certificate_untrusted' : 'warming';
    return { code, detail: `the worker is not ready: ${this.reason}` };
  }

  /** How the program there is at it; without a place, any of them. */
  atWork(place: string | null, headMs: number, usualMs: number | null): AtWork {
    let found: AtWork = 'no';
    for (const each of this.all) {
      if (place !== null && each.place !== place) continue;
      const atWork = each.atWork(headMs, usualMs);
      if (atWork === 'moves') return atWork;
      if (atWork === 'waits') found = atWork;
    }
    return found;
  }

  /** The one that is asked next: sound, with a free slot, and with least in hand; null = all were tried, or are ill. */
  next(tried: ReadonlySet<WorkerInstance>): WorkerInstance | null {
    const nowMs = performance.now();
    const limit = this.#concurrencyEach;
    let best: WorkerInstance | null = null;
    let bestRank = Number.POSITIVE_INFINITY;
    for (const each of this.all) {
      if (!each.health.isReady || tried.has(each)) continue;
      const hasSlot = limit === null || each.inFlight < limit;
      const tier = (each.isLeftOut(nowMs) ? 2 : 0) + (hasSlot ? 0 : 1);
      // Requests decide; what it says of its load only between equals.
      const rank = tier * 1e9 + (each.inFlight + each.open) * 2 + (each.saidLoad(nowMs) ?? 0);
      if (rank < bestRank || (rank === bestRank && best !== null && each.chosenAt < best.chosenAt)) {
        best = each;
        bestRank = rank;
      }
    }
    return best;
  }

  chosen(instance: WorkerInstance): void {
    instance.chosenAt = ++this.#choices;
    instance.standing.health.tried(performance.now());
  }

  /** By an answer that it has just given, beside those of the others; null: it is not to blame for how it ended. */
  judge(instance: WorkerInstance, answer: Answer | null, nowMs: number): void {
    const { standing } = instance;
    if (answer === null || answer === 'refused') standing.health.abandoned(nowMs);
    else {
      standing.answered(answer, nowMs);
      if (answer !== 'served')
        ejectIfOutlier(standing, answer, () => this.all.map((each) => each.standing), nowMs);
    }
    this.#resizeBy(instance, nowMs);
  }

  /** It takes no more than what it has, for so long. */
  refused(instance: WorkerInstance, nowMs: number, forMs: number): void {
    instance.standing.refusedAt(instance.inFlight - 1, nowMs, forMs);
    this.#resizeBy(instance, nowMs);
  }

  /** As many slots for the service as they have now. */
  resize(): void {
    const slots = this.#slotsNow();
    if (slots !== null) this.#admission.resize(slots);
  }

  /** Now, and when it is not left out any more. */
  #resizeBy(instance: WorkerInstance, nowMs: number): void {
    this.resize();
    const { barredUntilMs } = instance.standing;
    if (barredUntilMs <= Math.max(nowMs, instance.barredUntilMs)) return;
    instance.barredUntilMs = barredUntilMs;
    setTimeout(() => this.resize(), barredUntilMs - nowMs + 1).unref();
  }

  /** The slots that they have now; all of them while none is sound. null: as many as there ever were. */
  #slotsNow(): number | null {
    const each = this.#concurrencyEach;
    if (!this.hasSeveral || each === null) return null;
    const nowMs = performance.now();
    if (!this.all.some((instance) => instance.isSound(nowMs))) {
      const ready = this.all.filter(({ health }) => health.isReady);
      return each * (ready.length || this.all.length);
    }
    return Math.max(
      1,
      this.all.reduce((sum, instance) => sum + instance.slots(each, nowMs), 0),
    );
  }

  /** One said how full it is; each has a share of the slots, so together they are as full as on average. */
  said(instance: WorkerInstance, load: number, nowMs: number): number {
    if (!this.hasSeveral) return load;
    instance.said(load, nowMs);
    const said = this.all.flatMap((each) => each.saidLoad(nowMs) ?? []);
    return said.reduce((sum, each) => sum + each, 0) / said.length;
  }
}
