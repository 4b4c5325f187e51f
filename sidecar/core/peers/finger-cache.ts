/**
 * The finger cache: for each service, how old our view of it is, and whether to look it up.
 *
 * Only ages and counts: the peers themselves are in the peer table, so that one dead peer is dead for all services and
 * a view can outlive its refresh (fail static). Time is a parameter.
 */

export interface FingerCacheOptions {
  /** How long a view is fresh. */
  readonly ttlMs: number;
  /** How long "nobody" is believed; short, because a worker may be just starting. */
  readonly emptyTtlMs: number;
  /** Bound on the services remembered: apps choose the names. */
  readonly maxServices: number;
}

export type FingerState =
  /** Never found. */
  | { readonly kind: 'missing' }
  | { readonly kind: 'fresh'; readonly ageMs: number }
  /** Found before, and not confirmed for the TTL: still served, see `find` of the directory. */
  | { readonly kind: 'stale'; readonly ageMs: number }
  /** Just looked up in vain: nobody announced it, or no DHT node answered. */
  | { readonly kind: 'empty'; readonly ageMs: number; readonly failed: boolean };

export interface FingerLookup {
  readonly state: FingerState;
  /** Whether to begin a lookup now; false when one runs or just ended. */
  readonly lookup: boolean;
}

/** Names as in `/stats`, where they are added up. */
export interface FingerCounters {
  /** Requests that a fresh view with peers answered. */
  readonly cache_hits: number;
  /** All other requests, whether or not they had to wait. */
  readonly cache_misses: number;
  /** Lookups begun for requests and in the background; shared ones once. */
  readonly dht_lookups: number;
}

interface Finger {
  foundAtMs: number;
  askedAtMs: number;
  /** Start of the last lookup; the background refresh is counted from it. */
  lookedUpAtMs: number;
  looking: boolean;
  /** End and outcome of the last lookup when it was in vain. */
  vainAtMs: number;
  vainOutcome: 'empty' | 'failed';
  vainInRow: number;
}

const NEVER = Number.NEGATIVE_INFINITY;

export class FingerCache {
  readonly #options: FingerCacheOptions;
  readonly #fingers = new Map<string, Finger>();
  #hits = 0;
  #misses = 0;
  #lookups = 0;

  constructor(options: FingerCacheOptions) {
    this.#options = options;
  }

  get counters(): FingerCounters {
    return { cache_hits: this.#hits, cache_misses: this.#misses, dht_lookups: this.#lookups };
  }

  /** Services that were found at least once. */
  get size(): number {
    let found = 0;
    for (const finger of this.#fingers.values()) if (finger.foundAtMs !== NEVER) found += 1;
    return found;
  }

  /**
   * A request wants the service: counts it as a hit or a miss. `peers` is how many the peer table has for it:
   * a fresh view whose peers have all gone since is no hit.
   */
  ask(service: string, peers: number, nowMs: number): FingerLookup {
    const finger = this.#fingers.get(service) ?? this.#add(service, nowMs);
    finger.askedAtMs = nowMs;
    const state = this.#stateOf(finger, peers, nowMs);
    if (state.kind === 'fresh') this.#hits += 1;
    else this.#misses += 1;
    return { state, lookup: state.kind !== 'fresh' && !finger.looking && this.#retryAtMs(finger) <= nowMs };
  }

  /** Whether it was found at least once, and is remembered. */
  wasFound(service: string): boolean {
    return (this.#fingers.get(service)?.foundAtMs ?? NEVER) !== NEVER;
  }

  /** As `ask`, without counting or remembering anything. */
  state(service: string, peers: number, nowMs: number): FingerState {
    const finger = this.#fingers.get(service);
    return finger === undefined ? { kind: 'missing' } : this.#stateOf(finger, peers, nowMs);
  }

  /** A lookup begins; to be followed by `ended`. */
  began(service: string, nowMs: number): void {
    const finger = this.#fingers.get(service) ?? this.#add(service, nowMs);
    finger.looking = true;
    finger.lookedUpAtMs = nowMs;
    this.#lookups += 1;
  }

  /** A verified peer has come in: the view is fresh from now, though the lookup goes on. */
  found(service: string, nowMs: number): void {
    const finger = this.#fingers.get(service);
    if (finger === undefined) return;
    finger.foundAtMs = nowMs;
    finger.vainAtMs = NEVER;
    finger.vainInRow = 0;
  }

  /** The lookup is over. `empty` and `failed` leave an older view as it is. */
  ended(service: string, outcome: 'found' | 'empty' | 'failed', nowMs: number): void {
    const finger = this.#fingers.get(service);
    if (finger === undefined) return;
    finger.looking = false;
    if (outcome === 'found') {
      this.found(service, nowMs);
      return;
    }
    finger.vainAtMs = nowMs;
    finger.vainOutcome = outcome;
    finger.vainInRow += 1;
  }

  /**
   * Services to refresh in the background now: asked for within the last TTL, found before, and half a TTL
   * past their last lookup (after one in vain: sooner, at doubling intervals).
   */
  due(nowMs: number): string[] {
    const due: string[] = [];
    for (const [service, finger] of this.#fingers) {
      if (finger.looking || finger.foundAtMs === NEVER || !this.#inUse(finger, nowMs)) continue;
      const half = this.#options.ttlMs / 2;
      const pause =
        finger.vainInRow === 0
          ? half
          : Math.min(half, this.#options.emptyTtlMs * 2 ** (finger.vainInRow - 1));
      if (nowMs - finger.lookedUpAtMs >= pause && this.#retryAtMs(finger) <= nowMs) due.push(service);
    }
    return due;
  }

  /** Services asked for within the last TTL: those whose peers are worth probing. */
  inUse(nowMs: number): string[] {
    const used: string[] = [];
    for (const [service, finger] of this.#fingers) if (this.#inUse(finger, nowMs)) used.push(service);
    return used;
  }

  #stateOf(finger: Finger, peers: number, nowMs: number): FingerState {
    const ageMs = nowMs - finger.foundAtMs;
    if (peers > 0 && finger.foundAtMs !== NEVER) {
      return { kind: ageMs < this.#options.ttlMs ? 'fresh' : 'stale', ageMs };
    }
    if (!finger.looking && this.#retryAtMs(finger) > nowMs) {
      return { kind: 'empty', ageMs: nowMs - finger.vainAtMs, failed: finger.vainOutcome === 'failed' };
    }
    return { kind: 'missing' };
  }

  #retryAtMs(finger: Finger): number {
    return finger.vainAtMs + this.#options.emptyTtlMs;
  }

  #inUse(finger: Finger, nowMs: number): boolean {
    return nowMs - finger.askedAtMs < this.#options.ttlMs;
  }

  #add(service: string, nowMs: number): Finger {
    if (this.#fingers.size >= this.#options.maxServices) this.#forgetOldest();
    const finger: Finger = {
      foundAtMs: NEVER,
      askedAtMs: nowMs,
      lookedUpAtMs: NEVER,
      looking: false,
      vainAtMs: NEVER,
      vainOutcome: 'empty',
      vainInRow: 0,
    };
    this.#fingers.set(service, finger);
    return finger;
  }

  /** A scan: it happens only when somebody has asked for more names than any mesh has services. */
  #forgetOldest(): void {
    let oldest: string | null = null;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const [service, finger] of this.#fingers) {
      if (finger.looking || finger.askedAtMs >= oldestMs) continue;
      oldest = service;
      oldestMs = finger.askedAtMs;
    }
    if (oldest !== null) this.#fingers.delete(oldest);
  }
}

/** At once: the services of an app that starts; and each second. */
const BURST = 64;
const PER_SECOND = 8;

interface Bucket {
  left: number;
  atMs: number;
}

/**
 * How many lookups of services that were never found an app may cause: names are an app's to make up, and each new one
 * costs queries of the DHT. A bucket for each app, so that one that guesses names costs no other its first request.
 */
export class UnknownBudget {
  /** By the name of an app's token; null: all that have none. */
  readonly #buckets = new Map<string | null, Bucket>();

  /** One lookup; false when the app has none left. `nowMs` is monotonic. */
  take(app: string | null, nowMs: number): boolean {
    const bucket = this.#buckets.get(app) ?? { left: BURST, atMs: nowMs };
    this.#buckets.set(app, bucket);
    bucket.left = Math.min(BURST, bucket.left + (PER_SECOND * Math.max(0, nowMs - bucket.atMs)) / 1_000);
    bucket.atMs = nowMs;
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }
}
