/**
 * What the proxy asks of membership: to prove who calls, and to check who answers.
 *
 * Declared here, by its consumer, so that the proxy does not depend on mesh/; main hands in the real one.
 */

export type CallerVerdict =
  | {
      readonly kind: 'member';
      readonly key: string;
      readonly workerId: string;
      /** End of its certificate, Unix ms. */
      readonly validUntilMs: number;
      readonly nonce: string;
      /** Of our keys the one that it was signed for: its response is, too. Absent = the present one. */
      readonly ownKey?: number;
      mayCall(service: string): boolean;
    }
  | {
      readonly kind: 'refused';
      readonly code: 'not_a_member' | 'not_allowed';
      readonly detail: string;
      /** Who it is, where that is proved all the same: the refusal can be signed. */
      readonly caller: { readonly key: string; readonly nonce: string; readonly ownKey?: number } | null;
    };

export interface PeerAuth {
  /** Value of the request field `sidecar-auth`, for the worker with `peerKey` only. */
  sign(request: {
    readonly peerKey: string;
    readonly method: string;
    readonly target: string;
    readonly service: string;
    readonly nowMs: number;
  }): { readonly header: string; readonly nonce: string };
  verify(request: {
    readonly header: string | undefined;
    readonly method: string;
    readonly target: string;
    readonly service: string;
    readonly nowMs: number;
  }): CallerVerdict;
  /** Makes sure that a request of this caller is never accepted; false when it is too late for that. */
  cancel(request: { readonly peerKey: string; readonly nonce: string; readonly nowMs: number }): boolean;
  /** Value of the response field `sidecar-auth`. */
  signResponse(response: {
    readonly peerKey: string;
    readonly nonce: string;
    readonly ownKey?: number | undefined;
    readonly status: number;
    readonly nowMs: number;
  }): string;
  verifyResponse(response: {
    readonly peerKey: string;
    readonly nonce: string;
    readonly status: number;
    readonly nowMs: number;
    readonly header: string | undefined;
  }): boolean;
  /** How far the clock of this peer is ahead of ours, in ms; null as long as it has not answered. */
  clockOffsetMs(peerKey: string): number | null;
}

/** Less is within what everybody allows. */
const LESSON_MS = 15_000;

/** Whether we know the time of a peer better than before: what it refused for its time can be signed anew. */
export function hasLearntClock(beforeMs: number | null, afterMs: number | null): boolean {
  return Math.abs((afterMs ?? 0) - (beforeMs ?? 0)) > LESSON_MS;
}
