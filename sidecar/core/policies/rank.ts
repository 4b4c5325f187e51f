/**
 * `rank`: the document's rule alone. Lowest reported load, at random among the top three at 50/30/20 %.
 *
 * Kept as it was written, for those who want it and as the measure of what `adaptive` adds: it takes reports
 * at their word, whatever their age.
 */
import type { Policy } from './policy.ts';
import { tieOf, tieSeed } from './tie.ts';
import { TopThree } from './top-three.ts';

export function createRank(): Policy {
  const top = new TopThree();
  return {
    name: 'rank',
    needsMeasures: false,
    reroutes: false,
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
