/**
 * One attempt: sends a request to one origin and its response back to the client, with back-pressure both ways, until
 * either side is over.
 *
 * It knows exactly how far it got (not sent, sent, begun), which is all that decides whether there may be another.
 */
import type { Code } from '../core/errors.ts';
import { type Answer, answerAtEnd, answerOf } from '../core/http/answer.ts';
import { first } from '../core/http/headers.ts';
import type { FieldLines } from '../core/http/http1-encode.ts';
import type { RawFields } from '../core/http/message.ts';
import { mayRetry, type Stage } from '../core/retry.ts';
import type { AttemptOutcome, HeldAnswer, Judgement } from './attempt-outcome.ts';
import { joinStreams } from './byte-streams.ts';
import type {
  ByteStream,
  Downstream,
  IncomingHead,
  Origin,
  OutgoingHead,
  RequestTimeouts,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
  Upstreams,
} from './exchange.ts';
import type { RelayListener, RequestRelay } from './request-relay.ts';

export interface AttemptOptions {
  readonly downstream: Downstream;
  readonly relay: RequestRelay;
  readonly upstreams: Upstreams;
  readonly origin: Origin;
  readonly head: OutgoingHead;
  readonly timeouts: RequestTimeouts;
  judge(head: IncomingHead, answer: Answer): Judgement;
  /** Headers of a 1xx response, as they go to the client. */
  informational(fields: RawFields): RawFields;
  /** Trailers that may travel on, judged with the headers of their response. */
  trailers(trailers: RawFields, headers: RawFields): RawFields;
  /**
   * Whether the same bytes may be sent again when a kept connection proves stale. Not to peers: a signature is good
   * for one request.
   */
  readonly repeatStale: boolean;
  /** The caller's deadline: when it resolves, the attempt is given up. */
  readonly deadline: Promise<void> | null;
  readonly watch?: AttemptWatch | null;
  /** How it ended: once, and last; also before `runAttempt` returns, if all went well by then. Never throws. */
  ended(outcome: AttemptOutcome): void;
  /** In its place, a fault of this program. Never throws. */
  faulted(error: unknown): void;
}

/**
 * Body of a refused response that is read to keep the connection; a longer one closes it. One of the worker's own
 * refusal that is longer goes to the client as it comes.
 */
const REFUSAL_BODY_BYTES = 65_536;

/** An origin that has not looked at a request gets it again so often: one is a race with its goodbye. */
const MAX_UNSEEN = 2;

/** And how long it is read: the request waits to go elsewhere, and a body may come byte by byte without end. */
const REFUSAL_BODY_MS = 250;

/** Callbacks and no promise: nearly every attempt succeeds, and what follows is done in the same tick. */
export function runAttempt(options: AttemptOptions): void {
  const attempt = new Attempt(options);
  try {
    attempt.start();
  } catch (error) {
    attempt.faulted(error);
  }
}

class Attempt implements UpstreamHandler, RelayListener, WaitingAttempt {
  readonly #options: AttemptOptions;
  readonly #startedMs = performance.now();
  #upstream: UpstreamRequest | null = null;
  #isOver = false;
  #isPaused = false;
  #stage: Stage = 'not_sent';
  #status = 0;
  #answer: Answer = 'served';
  #headers: RawFields = [];
  #firstByteMs: number | null = null;
  #refusal: AttemptOutcome | null = null;
  #refusalBytes = 0;
  #held: Held | null = null;
  #refusalEnd: NodeJS.Timeout | null = null;
  #unseen = 0;

  constructor(options: AttemptOptions) {
    this.#options = options;
  }

  start(): void {
    const { relay, deadline } = this.#options;
    if (relay.isGone) {
      this.#settle({ kind: 'client_gone', firstByteMs: null });
      return;
    }
    relay.listen(this);
    this.#options.watch?.begins(this);
    this.#send(false);
    void deadline?.then(() => this.#deadlinePassed());
  }

  #send(isFresh: boolean): void {
    const { upstreams, origin, head, timeouts } = this.#options;
    const request = upstreams.request(origin, head, timeouts, this, isFresh);
    if (!this.#isOver) this.#upstream ??= request;
  }

  onSent(request: UpstreamRequest): void {
    this.#upstream = request;
    this.#stage = 'sent';
    this.#options.watch?.awaitsResponse();
    this.#options.relay.connect(request);
  }

  pathLost(stage: Exclude<Stage, 'begun'>, detail: string): void {
    if (this.#stage === 'begun' || this.#refusal !== null || this.#held !== null) return;
    this.#abandon({ kind: 'failed', code: 'upstream_reset', stage, detail, isPathLost: true });
  }

  onInformational(status: number, reason: string, fields: RawFields): void {
    this.#options.downstream.informational(status, reason, this.#options.informational(fields));
  }

  onHead(head: IncomingHead): void {
    this.#options.watch?.ends();
    this.#firstByteMs = performance.now() - this.#startedMs;
    this.#answer = answerOf(head);
    const judgement = this.#options.judge(head, this.#answer);
    this.#headers = head.fields;
    if (judgement.kind === 'hold') {
      this.#hold(head, judgement);
      return;
    }
    if (judgement.kind === 'refuse') {
      const { code, stage, detail, isPathLost = false } = judgement;
      const refusal: AttemptOutcome = { kind: 'failed', code, stage, detail, isPathLost };
      this.#refusal = refusal;
      this.#options.relay.disconnect();
      if (stage !== 'not_sent') this.#abandon(refusal);
      // Its body nearly always came with the head, and is over once that is read: a timer for each would cost more.
      else this.#waitForBody(() => this.#abandon(refusal));
      return;
    }
    this.#begin(head, judgement.fields, judgement.first ?? null);
  }

  #begin({ status, reason, bodyBytes }: IncomingHead, fields: RawFields, first: FieldLines | null): void {
    this.#stage = 'begun';
    this.#status = status;
    this.#options.relay.commit();
    this.#options.downstream.start(status, reason, fields, bodyBytes, first);
  }

  /** Later than what came with the head. */
  #waitForBody(onLate: () => void): void {
    queueMicrotask(() => {
      if (!this.#isOver) this.#refusalEnd = setTimeout(onLate, REFUSAL_BODY_MS);
    });
  }

  #hold(head: IncomingHead, judgement: Held['judgement']): void {
    this.#held = { head, judgement, chunks: [], bytes: 0 };
    this.#options.relay.disconnect();
    this.#waitForBody(() => this.#passOn());
  }

  /** It is too long, or too slow, to be kept for later: the client gets it now. */
  #passOn(): void {
    const held = this.#held;
    if (held === null || this.#isOver) return;
    this.#held = null;
    const { fields } = held.judgement;
    held.judgement.passedOn(fields);
    this.#begin(held.head, fields, null);
    for (const chunk of held.chunks) this.#hand(chunk);
  }

  #heldOutcome({ judgement: { detail } }: Held, answer?: HeldAnswer): AttemptOutcome {
    const failed = { kind: 'failed', code: 'worker_refused', stage: 'refused', detail } as const;
    return answer === undefined ? failed : { ...failed, held: answer };
  }

  onData(chunk: Buffer): boolean {
    if (this.#refusal !== null) {
      this.#refusalBytes += chunk.length;
      if (this.#refusalBytes > REFUSAL_BODY_BYTES) this.#abandon(this.#refusal);
      return false;
    }
    const held = this.#held;
    if (held === null) return this.#hand(chunk);
    held.chunks.push(chunk);
    held.bytes += chunk.length;
    if (held.bytes > REFUSAL_BODY_BYTES) this.#passOn();
    return true;
  }

  #hand(chunk: Buffer): boolean {
    const { downstream } = this.#options;
    if (!downstream.write(chunk) && !this.#isOver) {
      this.#isPaused = true;
      this.#upstream?.pause();
    }
    return !downstream.isFlushed;
  }

  onEnd(trailers: RawFields): void {
    if (this.#refusal !== null) {
      this.#settle(this.#refusal);
      return;
    }
    const passed = trailers.length === 0 ? trailers : this.#options.trailers(trailers, this.#headers);
    const firstByteMs = this.#firstByteMs ?? 0;
    const held = this.#held;
    if (held !== null) {
      const { head, chunks } = held;
      const { fields } = held.judgement;
      const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      const answer = {
        status: head.status,
        reason: head.reason,
        fields,
        body,
        trailers: passed,
        firstByteMs,
      };
      this.#settle(this.#heldOutcome(held, answer));
      return;
    }
    if (trailers.length > 0 && this.#answer === 'served') this.#answer = answerAtEnd(trailers);
    this.#options.downstream.end(passed);
    this.#settle({ kind: 'completed', status: this.#status, firstByteMs, answer: this.#answer });
  }

  onUpgrade(head: IncomingHead, stream: ByteStream): void {
    this.#options.watch?.ends();
    const judgement = this.#options.judge(head, 'served');
    if (judgement.kind === 'refuse') {
      stream.socket.destroy();
      this.#settle({
        kind: 'failed',
        code: judgement.code,
        stage: judgement.stage,
        detail: judgement.detail,
      });
      return;
    }
    const firstByteMs = performance.now() - this.#startedMs;
    const { downstream, relay } = this.#options;
    relay.listen(null);
    this.#isOver = true;
    const protocol = first(head.fields, 'upgrade') ?? '';
    const client = downstream.upgrade(head.reason, judgement.fields, protocol);
    void joinStreams(client, stream).then(() =>
      this.#options.ended({ kind: 'completed', status: head.status, firstByteMs, answer: 'served' }),
    );
  }

  onUpstreamDrain(): void {
    this.#options.relay.upstreamDrained();
  }

  onClientDrain(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#upstream?.resume();
  }

  onFault(fault: UpstreamFault): void {
    if (this.#refusal !== null) {
      this.#settle(this.#refusal); // its body broke; the refusal itself was whole
      return;
    }
    if (this.#held !== null) {
      this.#settle(this.#heldOutcome(this.#held));
      return;
    }
    if ((fault.wasStale === true && this.#mayRepeat()) || (fault.isUnseen === true && this.#maySendAgain())) {
      this.#options.relay.disconnect();
      this.#upstream = null;
      this.#stage = 'not_sent';
      this.#send(true);
      return;
    }
    const { code, stage, detail, isRefused = false } = fault;
    if (this.#stage === 'begun') this.#break(code, detail);
    else this.#settle({ kind: 'failed', code, stage, detail, isRefused });
  }

  onGone(): void {
    this.#abandon({ kind: 'client_gone', firstByteMs: this.#firstByteMs });
  }

  /** Once, on a fresh connection: that no byte came back was the stale connection's fault, not the origin's. */
  #mayRepeat(): boolean {
    const { repeatStale, head, relay } = this.#options;
    const question = { method: head.method, replayable: relay.isReplayable, idempotencyKey: false };
    return repeatStale && mayRetry({ ...question, stage: 'sent', postOptIn: false, refusedOptIn: false });
  }

  /** Whatever its method, and to a peer as it is: its signature was not used up. */
  #maySendAgain(): boolean {
    this.#unseen++;
    return this.#unseen <= MAX_UNSEEN && this.#options.relay.isReplayable;
  }

  #deadlinePassed(): void {
    if (this.#isOver) return;
    const detail = 'the deadline of the caller passed';
    this.#upstream?.abort();
    if (this.#stage === 'begun') this.#break('deadline', detail);
    else this.#settle({ kind: 'failed', code: 'deadline', stage: 'sent', detail });
  }

  #break(code: Code, detail: string): void {
    this.#options.downstream.destroy();
    this.#settle({ kind: 'broken', code, status: this.#status, firstByteMs: this.#firstByteMs ?? 0, detail });
  }

  #abandon(outcome: AttemptOutcome): void {
    if (this.#isOver) return;
    this.#upstream?.abort();
    this.#settle(outcome);
  }

  #settle(outcome: AttemptOutcome): void {
    if (this.#isOver) return;
    this.#over();
    // What follows a failure sends anew, and not from inside the connection that failed.
    if (outcome.kind === 'completed') this.#options.ended(outcome);
    else queueMicrotask(() => this.#options.ended(outcome));
  }

  faulted(error: unknown): void {
    if (this.#isOver) return;
    this.#upstream?.abort();
    this.#over();
    this.#options.faulted(error);
  }

  #over(): void {
    this.#isOver = true;
    this.#upstream = null;
    if (this.#refusalEnd !== null) clearTimeout(this.#refusalEnd);
    this.#options.watch?.ends();
    this.#options.relay.disconnect();
    this.#options.relay.listen(null);
  }
}

/** A refusal of the worker while its body comes. */
interface Held {
  readonly head: IncomingHead;
  readonly judgement: Extract<Judgement, { kind: 'hold' }>;
  readonly chunks: Buffer[];
  bytes: number;
}

/** An attempt that waits for its response, as its watch sees it. */
export interface WaitingAttempt {
  /** Gives it up; `stage` is what is known of its delivery. Does nothing once a response has begun. */
  pathLost(stage: Exclude<Stage, 'begun'>, detail: string): void;
}

export interface AttemptWatch {
  /** A connection is being made, if none was kept. */
  begins(attempt: WaitingAttempt): void;
  /** The request is out. */
  awaitsResponse(): void;
  /** A response began, or the attempt is over; may be called more than once. */
  ends(): void;
}
