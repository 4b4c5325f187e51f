/**
 * `random`: any candidate, whatever its load. The floor that every other policy is measured against.
 */
import type { Policy } from './policy.ts';

export function createRandom(): Policy {
  return {
    name: 'random',
    needsMeasures: false,
    reroutes: false,
    pick: ({ candidates }, draw) => Math.floor(draw.random() * candidates.count),
    whyNot: () => 'not drawn',
  };
}
