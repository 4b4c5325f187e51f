/**
 * What the proxy asks of membership: to prove who calls, and to check who answers.
 *
 * Declared here, by its consumer, so that the proxy does not depend on mesh/; main hands in the real one. It
 * must not know how a proof is made.
 */

export type CallerVerdict =
  | {
      readonly kind: 'member';
      readonly key: string;
      readonly workerId: string;
      readonly nonce: string;
      mayCall(service: string): boolean;
    }
  | { readonly kind: 'refused'; readonly code: 'not_a_member' | 'not_allowed'; readonly detail: string };

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
  recall(request: { readonly peerKey: string; readonly nonce: string; readonly nowMs: number }): boolean;
  /** Value of the response field `sidecar-auth`. */
  signResponse(response: {
    readonly peerKey: string;
    readonly nonce: string;
    readonly status: number;
  }): string;
  verifyResponse(response: {
    readonly peerKey: string;
    readonly nonce: string;
    readonly status: number;
    readonly header: string | undefined;
  }): boolean;
}
