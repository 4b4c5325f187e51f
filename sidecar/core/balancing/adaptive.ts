/**
 * `adaptive`: lowest load, at random among the top three, where that does not cost time.
 *
 * The document's rule among those peers only that have a free slot and are not much slower than the best: ranking by
 * load alone overloads small and slow workers (p99 of hundreds of seconds in simulation, against nine). When nothing is
 * free, the shortest expected time.
 */
import type { ChoiceInput, Policy } from './policy.ts';
import { tieOf, tieSeed } from './tie.ts';
import { TopThree } from './top-three.ts';

/** Free candidates are considered up to so many times the best expected time. */
const SLOWEST_RATIO = 1.5;

/** Share of choices that go to any free candidate, so that none that ranks fourth, or is unknown, is never heard of. */
const EXPLORE_RATIO = 0.02;

/** A candidate with so many more of my unreported requests than the least loaded is left out: bursts spread. */
const BURST_REQUESTS = 2;

export function createAdaptive(): Policy {
  const top = new TopThree();
  let free = new Int32Array(64);

  return {
    name: 'adaptive',
    needsScores: true,
    redispatches: true,
    pick(field, draw) {
      const { load, isDirect, isUntried, expectedMs, count } = field.scores;
      const seed = tieSeed(draw.random());
      const limitMs = limitOf(field);
      if (free.length < count) free = new Int32Array(2 * count);
      let freeCount = 0;
      top.clear();
      for (let i = 0; i < count; i += 1) {
        if (!hasSlot(field, i)) continue;
        const isQuick = (expectedMs[i] as number) <= limitMs;
        // One that nobody knows may be the quickest of all, even where the usual one is too slow.
        if (isQuick || isUntried[i] === 1) free[freeCount++] = i;
        if (!isQuick) continue;
        // Of equals, those that are reached directly come first.
        top.offer(i, load[i] as number, tieOf(seed, i) - (isDirect[i] as number));
      }
      if (top.size === 0) return soonest(field, seed);
      const first = top.at(0);
      top.keep((index) => isSpread(field, index, first));
      const random = draw.random();
      if (random < EXPLORE_RATIO) {
        const any = free[Math.floor((random / EXPLORE_RATIO) * freeCount)] as number;
        if (isSpread(field, any, first)) return any;
      }
      return top.draw(Math.max(0, random - EXPLORE_RATIO) / (1 - EXPLORE_RATIO));
    },
    whyNot(field, index) {
      if (!hasSlot(field, index)) return 'no free slot';
      if ((field.scores.expectedMs[index] as number) > limitOf(field))
        return 'slower than 1.5 times the best';
      return 'free; higher load, or the draw fell on another';
    },
  };
}

function limitOf({ scores }: ChoiceInput): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < scores.count; i += 1) best = Math.min(best, scores.expectedMs[i] as number);
  return best * SLOWEST_RATIO;
}

function hasSlot({ scores }: ChoiceInput, i: number): boolean {
  return (scores.requests[i] as number) < (scores.slots[i] as number);
}

function isSpread({ scores }: ChoiceInput, index: number, first: number): boolean {
  const { unreported, slots } = scores;
  const share = ((unreported[first] as number) * (slots[index] as number)) / (slots[first] as number);
  return index === first || (unreported[index] as number) - share < BURST_REQUESTS;
}

function soonest({ scores }: ChoiceInput, seed: number): number {
  let best = 0;
  let bestMs = Number.POSITIVE_INFINITY;
  let bestTie = 0;
  for (let i = 0; i < scores.count; i += 1) {
    const expectedMs = scores.expectedMs[i] as number;
    if (expectedMs > bestMs) continue;
    const tie = tieOf(seed, i) - (scores.isDirect[i] as number);
    if (expectedMs === bestMs && tie > bestTie) continue;
    best = i;
    bestMs = expectedMs;
    bestTie = tie;
  }
  return best;
}
