/**
 * The reasons of a choice, as plain JSON: every candidate, each term of its score, each datum's age and source.
 *
 * Made from the same numbers that chose, never recomputed by another formula. It must not choose.
 */
import type { PolicyName, Refusal } from './choose.ts';
import type { ReportSource } from './endpoint.ts';

export interface ExplainedCandidate {
  readonly worker_id: string;
  readonly key: string;
  /** Empty for the chosen one. */
  readonly why_not: string;
  readonly state: string;
  readonly presence: string;
  readonly health: string;
  readonly routes: readonly { kind: string; state: string; extra_ms: number | null }[];
  readonly reported: {
    readonly age_ms: number | null;
    readonly source: ReportSource;
    readonly load: number;
    readonly in_flight: number;
    readonly queued: number;
    readonly concurrency: number;
    readonly service_ms: number | null;
    readonly mine: number;
    readonly sharers: number;
  };
  readonly outstanding: number;
  readonly failure_rate: number;
  /** Terms of the score; null when it was not a candidate. */
  readonly score: {
    readonly weight: number;
    readonly live_load: number;
    readonly requests: number;
    readonly slots: number;
    readonly service_ms: number;
    readonly extra_ms: number;
    readonly expected_ms: number;
    readonly is_free: boolean;
  } | null;
}

export interface Explanation {
  readonly service: string;
  readonly policy: PolicyName | 'affinity';
  readonly chosen: string | null;
  /** Who would have been chosen without the chosen one, and by how much it is worse. */
  readonly chosenNext: { worker_id: string; load_margin: number; expected_ms_margin: number } | null;
  readonly refusal: Refusal | null;
  readonly candidates: readonly ExplainedCandidate[];
}
