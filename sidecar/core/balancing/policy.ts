/**
 * What a policy is: a small function from candidates to the index of one of them.
 *
 * The balancer keeps the turn and gives the randomness, so that a policy has no state and a dry run (`explain`) cannot
 * disturb it. A policy must not decide who is eligible.
 */
import type { Candidates } from './candidates.ts';
import type { Scores } from './scores.ts';

/** The candidates of one choice. There is at least one. */
export interface ChoiceInput {
  readonly candidates: Candidates;
  /** Filled only for a policy with `needsMeasures`. */
  readonly scores: Scores;
}

export interface Draw {
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Counts the choices for this service. */
  readonly turn: number;
  readonly affinityKey: string | null;
  /** Key of the peer that had it lately; null = nobody. */
  readonly holderKey: string | null;
}

export interface Policy {
  readonly name: string;
  readonly needsScores: boolean;
  /** Whether a queue longer than expected should send the request back to choose again. */
  readonly redispatches: boolean;
  pick(field: ChoiceInput, draw: Draw): number;
  /** Why this candidate was not picked, in a few words for `explain`. */
  whyNot(field: ChoiceInput, index: number): string;
}
