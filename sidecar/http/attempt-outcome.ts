/**
 * How one attempt ended, and what its caller makes of the head of a response. Apart from the attempt that moves the
 * bytes, since most who ask how one ended make none.
 */
import type { Code } from '../core/errors.ts';
import type { Answer } from '../core/http/answer.ts';
import type { FieldLines } from '../core/http/http1-encode.ts';
import type { RawFields } from '../core/http/message.ts';
import type { Stage } from '../core/retry.ts';

/** What the caller makes of a head: forward it with these headers, hold it back, or take it as a refusal. */
export type Judgement =
  | {
      readonly kind: 'forward';
      readonly fields: RawFields;
      /** As in `Downstream.start`. */
      readonly first?: FieldLines | null;
    }
  /** The worker's own refusal: kept whole while others are asked, for the client if nobody serves it. */
  | {
      readonly kind: 'hold';
      readonly fields: RawFields;
      readonly detail: string;
      /** It goes to the client after all: adds what is said to it of its way. */
      passedOn(fields: RawFields): void;
    }
  | {
      readonly kind: 'refuse';
      readonly code: Code;
      readonly stage: Stage;
      readonly detail: string;
      /** As in the outcome. */
      readonly isPathLost?: boolean;
    };

/** A whole answer that the client has not got yet. */
export interface HeldAnswer {
  readonly status: number;
  readonly reason: string;
  readonly fields: RawFields;
  readonly body: Buffer;
  readonly trailers: RawFields;
  readonly firstByteMs: number;
}

export type AttemptOutcome =
  | {
      readonly kind: 'completed';
      readonly status: number;
      readonly firstByteMs: number;
      /** What it means, by its head and its trailers. */
      readonly answer: Answer;
    }
  /** Nothing of a response reached the client: another attempt is possible if `stage` allows. */
  | {
      readonly kind: 'failed';
      readonly code: Code;
      readonly stage: Stage;
      readonly detail: string;
      /** The path is to blame, not whoever was asked: its watch gave it up, or the edge of a tunnel did. */
      readonly isPathLost?: boolean;
      /** The other side's host said that nobody listens there. */
      readonly isRefused?: boolean;
      /** The refusal of the worker that was held back, when it came whole. */
      readonly held?: HeldAnswer;
    }
  /** The client's response was cut off, and its connection destroyed. */
  | {
      readonly kind: 'broken';
      readonly code: Code;
      readonly status: number;
      readonly firstByteMs: number;
      readonly detail: string;
    }
  | { readonly kind: 'client_gone'; readonly firstByteMs: number | null };
