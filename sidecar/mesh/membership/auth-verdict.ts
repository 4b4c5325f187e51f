/**
 * What is signed of a request to a peer, and what is concluded from a signature.
 *
 * Apart from the keys that do it (request-auth), for those who only carry the words.
 */
export interface SignRequest {
  /** Public key of the worker that is called, 64 hex digits. */
  readonly peerKey: string;
  readonly method: string;
  /** The request target as the peer will see it, byte for byte. */
  readonly target: string;
  /** After aliases; '' for an address of the sidecar itself (/record, /state). */
  readonly service: string;
  /** Unix ms. */
  readonly nowMs: number;
}

export interface VerifyRequest extends Omit<SignRequest, 'peerKey'> {
  readonly header: string | undefined;
}

export interface Proved {
  readonly key: string;
  readonly nonce: string;
  readonly ownKey?: number;
}

export type Verdict =
  | {
      readonly kind: 'member';
      /** Public key of the caller, 64 hex digits. */
      readonly key: string;
      readonly workerId: string;
      /** End of its certificate, Unix ms. */
      readonly validUntilMs: number;
      mayCall(service: string): boolean;
      /** Names the request in its response. */
      readonly nonce: string;
      /** For which of our keys it was signed, counted from the start; a response is signed with the same. */
      readonly ownKey?: number;
    }
  | {
      readonly kind: 'refused';
      readonly code: 'not_a_member' | 'not_allowed';
      readonly detail: string;
      /** Who it is, where that is proved all the same: the refusal can be signed. */
      readonly caller: Proved | null;
    };

export interface SentRequest {
  /** Of the other side, 64 hex digits. */
  readonly peerKey: string;
  /** Of the request. */
  readonly nonce: string;
  readonly status: number;
  /** Unix ms. */
  readonly nowMs: number;
}

export interface SignResponse extends SentRequest {
  /** As the verdict on the request says; absent = the present one. */
  readonly ownKey?: number | undefined;
}

export interface VerifyResponse extends SentRequest {
  readonly header: string | undefined;
}

/** Nothing is known of who sent it. */
export function stranger(detail: string): Extract<Verdict, { kind: 'refused' }> {
  return { kind: 'refused', code: 'not_a_member', detail, caller: null };
}
