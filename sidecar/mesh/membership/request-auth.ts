/**
 * The request authentication: proves on each peer request who calls, and on each response who answered.
 *
 * A MAC per request instead of mutual TLS, because a request may pass a tunnel that ends TLS, and because the answer
 * must be bound to the worker that was chosen, not to an address. The first contact of two sidecars costs one signature
 * check and one key agreement (about 0.2 ms); after it a message costs one BLAKE2b.
 *
 * The MAC of a request covers time, nonce, certificate, method, service and target as they go over the wire; its key
 * stands for caller, callee and mesh (mesh/membership/pair-keys). The MAC of a response covers the nonce of its request and the
 * status. Bodies and other fields are not covered: the VPN or TLS protects those.
 *
 * Each response tells the time of its maker. A caller whose clock is off is refused with the right time, and signs for
 * that worker by that worker's clock from then on: a fleet works also while clocks differ by minutes.
 *
 * What was seen is kept in memory: a worker that restarts accepts once more what was signed in its last 30 s.
 */
import { Buffer } from 'node:buffer';
import { BoundedCache } from '../../core/bounded-cache.ts';
import { type Certificate, includesService, validityAt } from '../../core/peers/certificate.ts';
import {
  counterOf,
  HALF_CHARS,
  isNonce,
  NO_TIME,
  newSession,
  readRequestHeader,
  readResponseHeader,
  timeText,
  writeHalf,
  writeRequestHeader,
  writeResponseHeader,
} from './auth-header.ts';
import {
  type SignRequest,
  type SignResponse,
  stranger,
  type Verdict,
  type VerifyRequest,
  type VerifyResponse,
} from './auth-verdict.ts';
import type { Identity } from './identity.ts';
import { certTagOf, hasMac, macOf, requestText, responseText } from './message-mac.ts';
import { derivePairKeys, type PairKeys } from './pair-keys.ts';
import { ReplayWindow } from './replay-window.ts';

/**
 * Peers whose keys and replay windows are held, at about 5 KiB for each that calls. With more than half as many
 * callers at once, those whose clock is behind are refused now and then: what was forgotten could be replayed.
 */
const MAX_PEERS = 16_384;

/** So long callers may take to hear of another key of ours. */
const FORMER_KEY_MS = 30_000;

interface Pair {
  readonly keys: PairKeys;
  /** Made when the peer first calls. */
  window: ReplayWindow | null;
  /** Of its clock, from its last response; NaN = it has not answered yet. */
  offsetMs: number;
}

interface Former {
  readonly pairs: BoundedCache<string, Pair>;
  readonly untilMs: number;
  readonly ownKey: number;
}

interface Caller {
  readonly certificate: Certificate;
  /** Stands for the certificate in the MAC. */
  readonly certTag: string;
  mayCall(service: string): boolean;
}

export interface RequestAuthOptions {
  /** Beyond it the peers not heard of for the longest are forgotten, and cost a first contact again. */
  readonly maxPeers?: number;
  /** The clock of a peer is off by more than others would allow; called when that begins or changes as much. */
  onClock?(peerKey: string, offsetMs: number): void;
}

export class RequestAuth {
  readonly #identity: Identity;
  readonly #onClock: (peerKey: string, offsetMs: number) => void;
  readonly #session = newSession();
  readonly #callers: BoundedCache<string, Caller>;
  readonly #maxPeers: number;
  #pairs: BoundedCache<string, Pair>;
  /** Under the key that was ours before: for what was under way then, and for callers who have not heard yet. */
  #former: Former | null = null;
  /** Counts our keys. */
  #ownKey = 0;
  #counter = 0;
  #own: OwnCertificate;
  /** Time up to which replay windows were forgotten. */
  #forgottenMs = Number.NEGATIVE_INFINITY;

  constructor(identity: Identity, options: RequestAuthOptions = {}) {
    const { maxPeers = MAX_PEERS, onClock = () => {} } = options;
    this.#identity = identity;
    this.#onClock = onClock;
    this.#own = ownCertificate(identity.certBytes);
    this.#callers = new BoundedCache(maxPeers, () => {});
    this.#maxPeers = maxPeers;
    this.#pairs = this.#newPairs();
  }

  #newPairs(): BoundedCache<string, Pair> {
    return new BoundedCache(this.#maxPeers, ({ window }) => {
      if (window !== null) this.#forgottenMs = Math.max(this.#forgottenMs, window.newestMs);
    });
  }

  /** The identity has another key: what is under way ends under the former one. */
  keyReplaced(nowMs: number): void {
    this.#former = { pairs: this.#pairs, untilMs: nowMs + FORMER_KEY_MS, ownKey: this.#ownKey };
    this.#pairs = this.#newPairs();
    this.#ownKey += 1;
  }

  /**
   * The value of `sidecar-auth` for one attempt; each attempt needs its own. Throws an Error only when
   * `peerKey` is not the key of a verified record, or the clock is not in this age.
   */
  sign(request: SignRequest): { readonly header: string; readonly nonce: string } {
    const { peerKey, nowMs } = request;
    const pair = this.#pairWith(peerKey);
    const time = timeText(nowMs + correctionMs(pair.offsetMs));
    if (time === '') throw new Error('The clock of this machine is not between 2001 and 2286.');
    this.#identity.renew(nowMs);
    // Others may have renewed it as well.
    const { certBytes } = this.#identity;
    if (certBytes !== this.#own.bytes) this.#own = ownCertificate(certBytes);
    const { tag, text } = this.#own;
    const nonce = this.#session + writeHalf(this.#counter++);
    const mac = macOf(requestText(time, nonce, tag, request), pair.keys.requestOut);
    return { header: writeRequestHeader(text, time, nonce, mac), nonce };
  }

  /** Judges a header from anyone; never throws. Right once: the same header again is refused. */
  verify(request: VerifyRequest): Verdict {
    const { header, service, nowMs } = request;
    if (header === undefined) return stranger('The request has no sidecar-auth header.');
    const stamp = readRequestHeader(header);
    if (stamp === null) return stranger('The sidecar-auth header is not well-formed (version 1).');
    const skewMs = stamp.timeMs - nowMs;
    // negated, so that a time which is not a number is refused
    if (!(Math.abs(skewMs) <= MAX_TOLD_SKEW_MS)) return stranger(describeSkew(skewMs));
    const caller = this.#callerOf(stamp.cert, nowMs / 1000);
    if (caller === null)
      return stranger('The certificate is not signed by this mesh, does not hold now, or was revoked.');
    const { workerKey, workerId } = caller.certificate;
    let pair: Pair | undefined = this.#pairWith(workerKey);
    let ownKey = this.#ownKey;
    const message = requestText(stamp.time, stamp.nonce, caller.certTag, request);
    if (!hasMac(message, pair.keys.requestIn, stamp.mac)) {
      pair = this.#formerPair(workerKey, service, nowMs);
      ownKey -= 1;
      if (pair === undefined || !hasMac(message, pair.keys.requestIn, stamp.mac))
        return stranger(
          'The MAC is not the one of this request to this worker: it was signed for another, or changed.',
        );
    }
    const isOff = Math.abs(skewMs) > MAX_CLOCK_SKEW_MS;
    pair.window ??= new ReplayWindow(this.#forgottenMs);
    // Also of one that is refused: what it is told holds for good.
    if (!pair.window.accept(stamp.nonce.slice(0, HALF_CHARS), stamp.counter, isOff ? nowMs : stamp.timeMs)) {
      return stranger(
        isOff
          ? describeSkew(skewMs)
          : 'The request was received before: each attempt needs a signature of its own.',
      );
    }
    const proved = { key: workerKey, nonce: stamp.nonce, ownKey };
    if (isOff) return { ...stranger(describeSkew(skewMs)), caller: proved };
    if (service !== '' && !caller.mayCall(service)) {
      return {
        kind: 'refused',
        code: 'not_allowed',
        detail: `The certificate of ${workerId} does not allow it to call ${service}.`,
        caller: proved,
      };
    }
    const validUntilMs = caller.certificate.notAfter * 1_000;
    return { kind: 'member', ...proved, workerId, validUntilMs, mayCall: caller.mayCall };
  }

  /**
   * Makes sure that the request with this nonce is never accepted from this caller; false when that is too late, or
   * cannot be promised. Never throws.
   */
  cancel(request: { readonly peerKey: string; readonly nonce: string; readonly nowMs: number }): boolean {
    const { peerKey, nonce, nowMs } = request;
    const counter = counterOf(nonce);
    // Who was never verified has sent nothing that could be taken back.
    const pair = this.#pairs.get(peerKey);
    if (counter < 0 || pair?.window == null) return false;
    return pair.window.accept(nonce.slice(0, HALF_CHARS), counter, nowMs);
  }

  /** The value of `sidecar-auth` for the response to a verified request. */
  signResponse({ peerKey, nonce, ownKey = this.#ownKey, status, nowMs }: SignResponse): string {
    const time = timeText(nowMs) || NO_TIME;
    const former = ownKey === this.#former?.ownKey ? this.#former.pairs.get(peerKey) : undefined;
    const { keys } = former ?? this.#pairWith(peerKey);
    return writeResponseHeader(time, macOf(responseText(nonce, time, status), keys.responseOut));
  }

  /** Requests for services only: who keeps asking for this worker under the former key is to forget it. */
  #formerPair(workerKey: string, service: string, nowMs: number): Pair | undefined {
    if (this.#former === null || service === '' || nowMs > this.#former.untilMs) return undefined;
    return this.#former.pairs.get(workerKey);
  }

  /**
   * Whether the worker with `peerKey` gave this status to the request with this nonce; if so, its clock is known from
   * then on. Never throws.
   */
  verifyResponse({ peerKey, nonce, status, nowMs, header }: VerifyResponse): boolean {
    const stamp = header === undefined ? null : readResponseHeader(header);
    if (stamp === null || !isNonce(nonce)) return false;
    const text = responseText(nonce, stamp.time, status);
    // Who was never called cannot have answered.
    let pair = this.#pairs.get(peerKey);
    if (pair === undefined || !hasMac(text, pair.keys.responseIn, stamp.mac)) {
      pair = this.#former?.pairs.get(peerKey);
      if (pair === undefined || !hasMac(text, pair.keys.responseIn, stamp.mac)) return false;
    }
    const offsetMs = stamp.timeMs - nowMs;
    if (Math.abs(offsetMs) > MAX_TOLD_SKEW_MS) return true;
    if (isNews(pair.offsetMs, offsetMs)) this.#onClock(peerKey, offsetMs);
    pair.offsetMs = offsetMs;
    return true;
  }

  /** How far the clock of this worker is ahead of ours, in ms; null as long as it has not answered. */
  clockOffsetMs(peerKey: string): number | null {
    const offsetMs = this.#pairs.get(peerKey)?.offsetMs ?? Number.NaN;
    return Number.isNaN(offsetMs) ? null : offsetMs;
  }

  #pairWith(peerKey: string): Pair {
    let pair = this.#pairs.get(peerKey);
    if (pair === undefined) {
      pair = { keys: derivePairKeys(this.#identity, peerKey), window: null, offsetMs: Number.NaN };
      this.#pairs.set(peerKey, pair);
    }
    return pair;
  }

  /** The caller behind a certificate as it stands in a header; null when the mesh did not sign it or it does not hold now. */
  #callerOf(cert: string, nowSeconds: number): Caller | null {
    const known = this.#callers.get(cert);
    if (known !== undefined) {
      const holds =
        validityAt(known.certificate, nowSeconds) === 'valid' &&
        !this.#identity.revocations.has(known.certificate.workerKey);
      return holds ? known : null;
    }
    const bytes = Buffer.from(cert, 'base64url');
    // A fresh string: `cert` is a slice that would hold on to the whole header. And one spelling only.
    const text = bytes.toString('base64url');
    if (text !== cert) return null;
    const certificate = this.#identity.verifyCertificate(bytes, nowSeconds);
    if (certificate === null) return null;
    const caller: Caller = {
      certificate,
      certTag: certTagOf(bytes),
      mayCall: (service) => includesService(certificate.calls, service),
    };
    this.#callers.set(text, caller);
    return caller;
  }
}

interface OwnCertificate {
  readonly bytes: Buffer;
  readonly text: string;
  readonly tag: string;
}

function ownCertificate(bytes: Buffer): OwnCertificate {
  return { bytes, text: bytes.toString('base64url'), tag: certTagOf(bytes) };
}

/** A request is taken when it was signed no further from now. */
const MAX_CLOCK_SKEW_MS = 30_000;

/** A caller whose clock is off by more is told nothing: its certificate would not hold either. */
const MAX_TOLD_SKEW_MS = 86_400_000;

/** Below this a difference may be that of the way. */
const LEAST_OFFSET_MS = 2_000;

/** What is to be added to our time for a peer whose clock is ahead by `offsetMs`; NaN = not known. */
function correctionMs(offsetMs: number): number {
  return Math.abs(offsetMs) >= LEAST_OFFSET_MS ? offsetMs : 0;
}

/** Worth a line in the log: off by more than is taken, and not known before. */
function isNews(wasMs: number, offsetMs: number): boolean {
  const changeMs = Math.abs(offsetMs - (Number.isNaN(wasMs) ? 0 : wasMs));
  return changeMs > MAX_CLOCK_SKEW_MS && Math.abs(offsetMs) > MAX_CLOCK_SKEW_MS;
}

function describeSkew(skewMs: number): string {
  const seconds = (Math.abs(skewMs) / 1000).toFixed(1);
  const when = skewMs < 0 ? `${seconds} s ago` : `${seconds} s in the future`;
  return `The request was signed ${when}; at most ${MAX_CLOCK_SKEW_MS / 1000} s are allowed: check the clocks of both machines.`;
}
