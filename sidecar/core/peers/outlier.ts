/**
 * Does a worker's share of faults stand out from what the others give for the same service?
 *
 * A 4xx is the client's fault when all workers answer so, and the worker's when it alone does; only the comparison
 * tells. Asked after a fault, never on the way of an answer that is good.
 */
import type { Outlier } from './service-health.ts';
import type { Standing } from './standing.ts';

/** Of the others so many answers must be known: what they do not say is no measure. */
const MIN_OTHERS = 5;

/** Fewer faults never stand out. */
const MIN_FAULTS = 5;

/** The share must exceed so many times that of the others, and this much on top. */
const SHARE_RATIO = 2;
const SHARE_MARGIN = 0.2;

/** And the number what chance gives: so many standard deviations, and so many on top, since small samples are skewed. */
const DEVIATIONS = 3;
const SLACK = 3;

/** So long the others come first, so that there is something to compare with; quick errors come by the hundred. */
const MEASURE_MS = 1_000;

/** `own` has just given an answer of this kind: if its answers stand out, it is ejected. */
export function ejectIfOutlier(
  own: Standing,
  kind: Outlier['of'],
  others: () => Iterable<Standing>,
  nowMs: number,
): void {
  if (own.health.state.kind !== 'closed') return;
  const outlier = outlierAmong(own, kind, others(), nowMs);
  if (outlier === null) {
    if (lacksMeasure(own, others(), nowMs)) own.setAside(nowMs + MEASURE_MS);
    return;
  }
  own.health.stoodOut(outlier, nowMs);
  own.forgetAnswers();
}

/** Null = it does not. `others`: of the same service; itself among them is passed over. */
export function outlierAmong(
  own: Standing,
  kind: Outlier['of'],
  others: Iterable<Standing>,
  nowMs: number,
): Outlier | null {
  if (!isStriking(own, kind, nowMs)) return null;
  const total = own.total(nowMs);
  const faults = own.count(kind);
  let othersTotal = 0;
  let othersFaults = 0;
  for (const other of others) {
    if (other === own) continue;
    othersTotal += other.total(nowMs);
    othersFaults += other.count(kind);
  }
  if (othersTotal < MIN_OTHERS) return null;
  const usual = (othersFaults + 1) / (othersTotal + 2);
  const share = faults / total;
  if (share <= SHARE_RATIO * usual + SHARE_MARGIN) return null;
  const expected = total * usual;
  if (faults - expected <= DEVIATIONS * Math.sqrt(expected * (1 - usual)) + SLACK) return null;
  const what = kind === 'failed' ? 'faults (5xx, or no whole answer)' : 'client errors (4xx)';
  const text = `${percent(share)} of its answers are ${what}, and ${percent(othersFaults / othersTotal)} of those of the others`;
  return { of: kind, text };
}

/** It may be one, and of the others too little is known to tell: some requests should go there. */
export function lacksMeasure(own: Standing, others: Iterable<Standing>, nowMs: number): boolean {
  if (!isSuspicious(own, nowMs)) return false;
  let total = 0;
  for (const other of others) if (other !== own) total += other.total(nowMs);
  return total < MIN_OTHERS;
}

/** It gives many faults; a comparison tells whether it alone does. */
export function isSuspicious(own: Standing, nowMs: number): boolean {
  if (own.health.state.kind !== 'closed') return false;
  return isStriking(own, 'failed', nowMs) || isStriking(own, 'rejected', nowMs);
}

function isStriking(own: Standing, kind: Outlier['of'], nowMs: number): boolean {
  const total = own.total(nowMs);
  const faults = own.count(kind);
  return faults >= MIN_FAULTS && faults > SHARE_MARGIN * total;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
