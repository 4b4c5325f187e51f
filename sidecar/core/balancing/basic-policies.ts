/**
 * The policies that fit into one rule each, for those who want them and as the measure of what `adaptive` adds.
 */
import type { Policy } from './policy.ts';
import { tieOf, tieSeed } from './tie.ts';
import { TopThree } from './top-three.ts';

/**
 * The document's rule alone: lowest reported load, at random among the top three at 50/30/20 %. It takes reports at
 * their word, whatever their age.
 */
export function createRank(): Policy {
  const top = new TopThree();
  return {
    name: 'rank',
    needsScores: false,
    redispatches: false,
    pick({ candidates }, draw) {
      const seed = tieSeed(draw.random());
      top.clear();
      for (let i = 0; i < candidates.count; i += 1) {
        const load = candidates.endpoints[i]?.load ?? 1;
        // What is not a number ranks last.
        top.offer(i, load >= 0 ? load : 1, tieOf(seed, i));
      }
      return top.draw(draw.random());
    },
    whyNot: () => 'not among the three of the lowest load, or the draw fell on another',
  };
}

/**
 * The lowest live load, ties at random. Live, that is with what was sent from here since the report: by reported load
 * alone every caller would herd onto one worker until the next report.
 */
export function createLeastLoad(): Policy {
  return {
    name: 'least-load',
    needsScores: true,
    redispatches: false,
    pick({ scores }, draw) {
      const seed = tieSeed(draw.random());
      let best = 0;
      for (let i = 1; i < scores.count; i += 1) {
        const load = scores.load[i] as number;
        const least = scores.load[best] as number;
        if (load < least || (load === least && tieOf(seed, i) < tieOf(seed, best))) best = i;
      }
      return best;
    },
    whyNot: () => 'not the lowest load, or a tie',
  };
}

/**
 * Of two candidates at random, the one with the lower live load (M. Mitzenmacher, "The Power of Two Choices in
 * Randomized Load Balancing", 2001): it cannot herd, and it avoids the worst.
 */
export function createP2c(): Policy {
  return {
    name: 'p2c',
    needsScores: true,
    redispatches: false,
    pick({ scores }, draw) {
      const { count, load } = scores;
      const first = Math.floor(draw.random() * count);
      if (count === 1) return first;
      const step = 1 + Math.floor(draw.random() * (count - 1));
      const second = (first + step) % count;
      return (load[second] as number) < (load[first] as number) ? second : first;
    },
    whyNot: () => 'not drawn, or the higher load of the two that were',
  };
}

/** Any candidate, whatever its load: the floor that every other policy is measured against. */
export function createRandom(): Policy {
  return {
    name: 'random',
    needsScores: false,
    redispatches: false,
    pick: ({ candidates }, draw) => Math.floor(draw.random() * candidates.count),
    whyNot: () => 'not drawn',
  };
}

/** Each candidate in its turn, whatever its load. */
export function createRoundRobin(): Policy {
  return {
    name: 'round-robin',
    needsScores: false,
    redispatches: false,
    pick: ({ candidates }, draw) => draw.turn % candidates.count,
    whyNot: () => 'not its turn',
  };
}
