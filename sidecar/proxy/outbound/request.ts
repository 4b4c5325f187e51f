/**
 * What one app asked for, as it stays while the request is under way: whom, what, since when, until when.
 *
 * Made once, when it is known what is asked for. Who is next is the business of the target selector, and what came of
 * it that of the report.
 */
import { randomBytes } from 'node:crypto';
import type { Addressed } from '../../core/forwarding/service-address.ts';
import { PREFER_HEADER, REQUIRE_HEADER, WORKER_HEADER } from '../../core/forwarding/sidecar-headers.ts';
import { isGrpc } from '../../core/http/grpc.ts';
import { all, first, has } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import { isWorkerId } from '../../core/peers/certificate.ts';
import { NO_REQUIREMENTS, parseRequirements, type Requirement } from '../../core/peers/requirements.ts';
import type { Ttfb } from '../../core/peers/ttfb.ts';
import { type TunnelLimits, type TunnelUnfit, tunnelUnfit } from '../../core/peers/tunnel-limits.ts';
import { mayRetry, type RetryQuestion } from '../../core/retry.ts';
import type { Downstream, RequestTimeouts } from '../../http/exchange.ts';
import { RequestRelay, willKeep } from '../../http/request-relay.ts';
import { RequestDeadline } from '../../http/sockets/timers.ts';
import { parseCount } from '../peer/refusal.ts';

/** How a service is called. */
export interface CallPolicy {
  readonly vpn: RequestTimeouts;
  readonly tunnel: RequestTimeouts;
  /** A POST with Idempotency-Key may be sent again. */
  readonly retryPost: boolean;
  /** What a worker refused (429, 503 with Retry-After, …) may go to another. */
  readonly retryRefused: boolean;
  /** Asked of the workers by the configuration, besides what the request asks. */
  readonly requirements?: readonly Requirement[];
  readonly preferences?: readonly Requirement[];
}

/** What an app asks of the worker that is to serve it. */
export interface WorkerWishes {
  readonly requirements: readonly Requirement[];
  readonly preferences: readonly Requirement[];
  /** This one and no other; null = any. */
  readonly workerId: string | null;
}

const NO_WISHES: WorkerWishes = {
  requirements: NO_REQUIREMENTS,
  preferences: NO_REQUIREMENTS,
  workerId: null,
};

/** As the fields of a request say; or what is wrong with them. */
export function workerWishes(fields: RawFields): WorkerWishes | { readonly fault: string } {
  const workerId = first(fields, WORKER_HEADER) ?? null;
  if (workerId === null && !has(fields, REQUIRE_HEADER) && !has(fields, PREFER_HEADER)) return NO_WISHES;
  if (workerId !== null && !isWorkerId(workerId))
    return { fault: `${WORKER_HEADER}: not the name of a worker` };
  const requirements = parseRequirements(all(fields, REQUIRE_HEADER).join(','));
  if ('fault' in requirements) return { fault: `${REQUIRE_HEADER}: ${requirements.fault}` };
  const preferences = parseRequirements(all(fields, PREFER_HEADER).join(','));
  if ('fault' in preferences) return { fault: `${PREFER_HEADER}: ${preferences.fault}` };
  return { requirements, preferences, workerId };
}

export interface RequestOptions {
  /** Of a body so much is kept, to be sent again. */
  readonly replayBytes: number;
  /** What tunnels carry, and how slow each service is. */
  readonly tunnelLimits: TunnelLimits;
  readonly ttfb: Ttfb;
  callPolicy(service: string): CallPolicy;
}

/** Who asks: an app by name, a web page; null where that is not known, or nobody. */
type Asker = Pick<OutboundRequest, 'app' | 'origin'>;

const NOBODY_NAMED: Asker = { app: null, origin: null };

export class OutboundRequest {
  readonly id = nextRequestId();
  /** Monotonic ms. */
  readonly sinceMs = performance.now();
  /** Unix ms. */
  readonly arrivedAtMs = Date.now();
  readonly downstream: Downstream;
  /** '' = it addresses none. */
  readonly service: string;
  readonly target: string;
  /** What its path was called with before that. */
  readonly prefix: string;
  /** Name of the app that asks; null where its token has none. */
  readonly app: string | null;
  /** Of the web page that asks and may read the answer; null = no page of elsewhere. */
  readonly origin: string | null;
  readonly policy: CallPolicy;
  readonly affinityKey: string | null;
  /** Of configuration and app together. */
  readonly requirements: readonly Requirement[];
  readonly preferences: readonly Requirement[];
  /** The one worker that it asks for; null = any. */
  readonly workerId: string | null;
  readonly wantsDecision: boolean;
  readonly deadline: RequestDeadline | null;
  /** Why it should not go by a tunnel. */
  readonly tunnelUnfit: TunnelUnfit | null;
  /** Its body is short enough to be kept as a whole for another attempt. */
  readonly isBodyKept: boolean;
  readonly relay: RequestRelay;

  constructor(
    downstream: Downstream,
    {
      service,
      target,
      prefix,
      requirements,
      preferences,
      workerId,
    }: Pick<Addressed, 'service' | 'target' | 'prefix'> & Partial<WorkerWishes>,
    options: RequestOptions,
    { app, origin }: Asker = NOBODY_NAMED,
  ) {
    const { fields, framing } = downstream.head;
    const { replayBytes, tunnelLimits, ttfb } = options;
    this.downstream = downstream;
    this.service = service;
    this.target = target;
    this.prefix = prefix;
    this.app = app;
    this.origin = origin;
    this.policy = options.callPolicy(service);
    this.requirements = joined(this.policy.requirements, requirements);
    this.preferences = joined(preferences, this.policy.preferences);
    this.workerId = workerId ?? null;
    this.affinityKey = first(fields, 'sidecar-affinity') ?? null;
    this.wantsDecision = first(fields, 'sidecar-explain') === '1';
    const deadlineMs = parseCount(first(fields, 'sidecar-deadline-ms'));
    this.deadline = deadlineMs === null ? null : new RequestDeadline(deadlineMs);
    const carried = {
      isGrpc: isGrpc(fields),
      bodyBytes: framing.kind === 'length' ? framing.bytes : null,
      firstByteMs: ttfb.expectedMs(service, this.sinceMs),
    };
    this.tunnelUnfit = tunnelUnfit(carried, tunnelLimits);
    this.isBodyKept = willKeep(framing, replayBytes);
    this.relay = new RequestRelay(downstream, replayBytes);
  }

  get elapsedMs(): number {
    return performance.now() - this.sinceMs;
  }

  /**
   * What comes of it may take seconds: a client that leaves, or its deadline, does not wait. null: nobody waits for it
   * any more.
   */
  async whileWanted<T>(ready: Promise<T>): Promise<{ readonly value: T } | null> {
    const { relay, deadline } = this;
    const gone = new Promise<null>((resolve) => {
      relay.listen({ onClientDrain: () => {}, onGone: () => resolve(null) });
      if (relay.isGone) resolve(null);
    });
    const found = ready.then((value) => ({ value }));
    const late = deadline?.passed.then(() => null);
    try {
      return await Promise.race(late === undefined ? [found, gone] : [found, gone, late]);
    } finally {
      relay.listen(null);
    }
  }

  /** What a worker refuses may go to another one. */
  get mayAskAnother(): boolean {
    return mayRetry(this.retryQuestion('refused'));
  }

  /** May it be sent again after an attempt that got so far? Asked of what is left of its body now. */
  retryQuestion(stage: RetryQuestion['stage']): RetryQuestion {
    const { method, fields } = this.downstream.head;
    return {
      stage,
      method,
      replayable: this.relay.isReplayable,
      idempotencyKey: has(fields, 'idempotency-key'),
      postOptIn: this.policy.retryPost,
      refusedOptIn: this.policy.retryRefused,
    };
  }
}

function joined(
  a: readonly Requirement[] = NO_REQUIREMENTS,
  b: readonly Requirement[] = NO_REQUIREMENTS,
): readonly Requirement[] {
  if (a.length === 0) return b;
  return b.length === 0 ? a : [...a, ...b];
}

const idPrefix = randomBytes(6).toString('hex');

const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz';

let idCount = 0;
/** All digits of the count but the last. */
let idHigh = 0;
let idHighText = `${idPrefix}-0`;

/**
 * Unique in the fleet by a random prefix per process and a counter: randomUUID costs 5 µs, as much as the rest of the
 * bookkeeping.
 */
function nextRequestId(): string {
  idCount++;
  const high = Math.floor(idCount / DIGITS.length);
  if (high !== idHigh) {
    idHigh = high;
    idHighText = `${idPrefix}-${high.toString(DIGITS.length)}`;
  }
  return idHighText + DIGITS[idCount % DIGITS.length];
}
