/**
 * `round-robin`: each candidate in its turn, whatever its load.
 */
import type { Policy } from './policy.ts';

export function createRoundRobin(): Policy {
  return {
    name: 'round-robin',
    needsMeasures: false,
    reroutes: false,
    pick: ({ candidates }, draw) => draw.turn % candidates.count,
    whyNot: () => 'not its turn',
  };
}
