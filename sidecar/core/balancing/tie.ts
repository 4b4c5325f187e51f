/**
 * Random order among equals, from one random number per choice.
 *
 * A hash of the seed and the place instead of a random number per candidate: it costs 1,000 candidates two
 * microseconds, and favours nobody, as starting at a random place would.
 */

/** 32 random bits from a number in [0, 1). */
export function tieSeed(random: number): number {
  return Math.floor(random * 4294967296) | 0;
}

/** In [0, 1), uniform over seeds for each index. (The finalizer of MurmurHash3, A. Appleby, public domain.) */
export function tieOf(seed: number, index: number): number {
  return mix(seed ^ Math.imul(index + 1, 0x9e3779b1)) / 4294967296;
}

/** Scatters 32 bits. */
export function mix(bits: number): number {
  let h = bits;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
