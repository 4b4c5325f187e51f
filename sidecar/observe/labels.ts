/**
 * Labels: the closed sets of label values, and the table that keeps the open ones (service, reason) bounded.
 *
 * One place for them, because a label value that a client or a peer can choose is a way to fill the memory of this
 * process and of Prometheus.
 */
import { CODES, type Code } from '../core/errors.ts';

/** By what way a request went; `none` when no worker was reached. */
export const ROUTES = ['local', 'vpn', 'p2p', 'tunnel', 'none'] as const;
export type RouteLabel = (typeof ROUTES)[number];

/**
 * How a request ended. `ok`: the worker answered below 500; `worker_error`: it answered 5xx;
 * `rejected`: the request itself was at fault (the sidecar answered); `failed`: the mesh was at fault (the
 * sidecar answered); `broken`: the response broke after its head; `client_gone`: the caller left.
 */
export const OUTCOMES = ['ok', 'worker_error', 'rejected', 'failed', 'broken', 'client_gone'] as const;
export type OutcomeLabel = (typeof OUTCOMES)[number];

/** What a peer is to the balancer now. `suspect` and `ejected` win over what the record says. */
export const PEER_STATES = ['ready', 'warming', 'draining', 'suspect', 'ejected'] as const;
export type PeerStateLabel = (typeof PEER_STATES)[number];

export const DHT_STATES = ['alone', 'connected', 'unreachable'] as const;
export type DhtState = (typeof DHT_STATES)[number];

/** Where untrusted input was refused. */
export const INPUT_KINDS = ['record', 'auth', 'http', 'report', 'worker'] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

export const ALL_CODES: readonly Code[] = Object.keys(CODES).filter((code): code is Code => code in CODES);

/**
 * Which outcome a response made by the sidecar is: the caller's fault (4xx, a loop, what no proxy carries)
 * or the mesh's. A caller is not to blame for asking where our view was old (421) or slots are full (429).
 */
export function outcomeOfCode(code: Code): 'rejected' | 'failed' {
  if (code === 'loop_detected' || code === 'not_supported') return 'rejected';
  const status: number = CODES[code].status;
  return status < 500 && status !== 421 && status !== 429 ? 'rejected' : 'failed';
}

/** The outcome of a response that a worker gave. */
export function outcomeOfStatus(status: number): 'ok' | 'worker_error' {
  return status >= 500 ? 'worker_error' : 'ok';
}

/**
 * At most `limit` distinct values; a value beyond them reads `other`. Only `admit` adds: `labelOf` of a
 * value that was never admitted reads `unknown`, so that a caller's invented names make no series.
 */
export class BoundedLabels {
  readonly #limit: number;
  readonly #admitted = new Set<string>();

  constructor(options: { readonly limit: number }) {
    this.#limit = options.limit;
  }

  admit(value: string): string {
    if (this.#admitted.has(value)) return value;
    if (this.#admitted.size >= this.#limit || !isPrintable(value)) return 'other';
    this.#admitted.add(value);
    return value;
  }

  labelOf(value: string): string {
    return this.#admitted.has(value) ? value : 'unknown';
  }
}

/** Service names and reason codes alike: what is longer or stranger than this is nobody's honest name. */
function isPrintable(value: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,62}$/.test(value);
}
