/**
 * Affinity: the same key goes to the same peer, while that peer has no more than its share.
 *
 * Rendezvous hashing (D. Thaler, C. Ravishankar, 1998) with bounded loads (V. Mirrokni et al., 2018): when a peer
 * leaves only its own keys move, and no key can overload a peer. No ring to build when peers change. A key that is in use
 * stays with the one who had it last (affinity-holders).
 */
import type { Policy } from './policy.ts';
import { mix } from './tie.ts';

/** No peer takes more than so many times its share of all requests. */
const BOUND_RATIO = 1.25;

export function createAffinity(): Policy {
  return {
    name: 'affinity',
    needsScores: true,
    redispatches: false,
    pick({ candidates, scores }, draw) {
      const { count, requests, slots } = scores;
      const keyHash = hashOf(draw.affinityKey ?? '');
      let totalRequests = 1;
      let totalSlots = 0;
      for (let i = 0; i < count; i += 1) {
        totalRequests += requests[i] as number;
        totalSlots += slots[i] as number;
      }
      let best = -1;
      let bestHash = -1;
      let emptiest = 0;
      let hasHolder = false;
      for (let i = 0; i < count; i += 1) {
        const use = (requests[i] as number) / (slots[i] as number);
        if (use < (requests[emptiest] as number) / (slots[emptiest] as number)) emptiest = i;
        const share = (totalRequests * (slots[i] as number)) / totalSlots;
        if ((requests[i] as number) + 1 > Math.ceil(BOUND_RATIO * share)) continue;
        const peer = candidates.endpoints[i]?.peer;
        if (peer !== undefined && peer.key === draw.holderKey) {
          best = i;
          hasHolder = true;
        }
        const hash = mix(keyHash ^ mix(peer?.keyHash ?? 0));
        if (hasHolder || hash <= bestHash) continue;
        best = i;
        bestHash = hash;
      }
      return best >= 0 ? best : emptiest;
    },
    whyNot({ scores }, index) {
      const { count, requests, slots } = scores;
      let totalRequests = 1;
      let totalSlots = 0;
      for (let i = 0; i < count; i += 1) {
        totalRequests += requests[i] as number;
        totalSlots += slots[i] as number;
      }
      const share = (totalRequests * (slots[index] as number)) / totalSlots;
      const isFull = (requests[index] as number) + 1 > Math.ceil(BOUND_RATIO * share);
      return isFull ? 'has more than 1.25 times its share' : 'another one has the key, or is nearer to it';
    },
  };
}

/** FNV-1a, 32 bits, over UTF-16 units. */
export function hashOf(text: string, seed = 0x811c9dc5): number {
  let h = seed | 0;
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h;
}
