/**
 * `p2c`: of two candidates at random, the one with the lower live load.
 *
 * The classic compromise (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001):
 * it cannot herd, and it avoids the worst.
 */
import type { Policy } from './policy.ts';

export function createP2c(): Policy {
  return {
    name: 'p2c',
    needsMeasures: true,
    reroutes: false,
    pick({ measures }, draw) {
      const { count, load } = measures;
      const first = Math.floor(draw.random() * count);
      if (count === 1) return first;
      const step = 1 + Math.floor(draw.random() * (count - 1));
      const second = (first + step) % count;
      return (load[second] as number) < (load[first] as number) ? second : first;
    },
    whyNot: () => 'not drawn, or the higher load of the two that were',
  };
}
