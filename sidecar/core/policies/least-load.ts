/**
 * `least-load`: the lowest live load, ties at random.
 *
 * Live, that is with what I have sent since the report: on reported load alone every caller would herd onto
 * one worker until the next report.
 */
import type { Policy } from './policy.ts';
import { tieOf, tieSeed } from './tie.ts';

export function createLeastLoad(): Policy {
  return {
    name: 'least-load',
    needsMeasures: true,
    reroutes: false,
    pick({ measures }, draw) {
      const seed = tieSeed(draw.random());
      let best = 0;
      for (let i = 1; i < measures.count; i += 1) {
        const load = measures.load[i] as number;
        const least = measures.load[best] as number;
        if (load < least || (load === least && tieOf(seed, i) < tieOf(seed, best))) best = i;
      }
      return best;
    },
    whyNot: () => 'not the lowest load, or a tie',
  };
}
