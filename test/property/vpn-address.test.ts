/**
 * Whatever a host's addresses do: what is told is there, or was a moment ago, and nothing good is left without need.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type HostAddress, VpnAddress } from '../../sidecar/core/peers/vpn-address.ts';

const PATIENCE_MS = 3_500;
const addresses: readonly HostAddress[] = [
  { device: 'nebula1', address: '10.42.0.1', isTunnel: true },
  { device: 'nebula1', address: '10.42.0.2', isTunnel: true },
  { device: 'wg0', address: '10.42.0.3', isTunnel: true },
  { device: 'eth0', address: '10.42.0.4', isTunnel: false },
  { device: 'cni0', address: '10.42.0.5', isTunnel: false },
];
const look = fc.record({ there: fc.subarray([...addresses]), afterMs: fc.integer({ min: 1, max: 5_000 }) });

describe('the VPN address while the host changes', () => {
  test('is one that is there, or one that went a moment ago; and waits only when none is there', () => {
    fc.assert(
      fc.property(fc.array(look, { maxLength: 30 }), (looks) => {
        const vpn = new VpnAddress(PATIENCE_MS);
        const seenAtMs = new Map<string, number>();
        let nowMs = 0;
        let goneAtMs = Number.NaN;
        for (const { there, afterMs } of looks) {
          nowMs += afterMs;
          for (const { address } of there) seenAtMs.set(address, nowMs);
          const before = vpn.state;
          const state = vpn.look(there, nowMs);
          if (state.kind === 'waiting') {
            expect(there).toStrictEqual([]);
            continue;
          }
          const isThere = there.some(({ address }) => address === state.address);
          if (isThere) goneAtMs = Number.NaN;
          else {
            if (Number.isNaN(goneAtMs)) goneAtMs = nowMs;
            expect(seenAtMs.has(state.address)).toBe(true);
            expect(nowMs - goneAtMs).toBeLessThan(PATIENCE_MS);
          }
          // Left for one that is as good only when it went.
          if (before.kind === 'up' && before.address !== state.address) {
            const left = there.find(({ address }) => address === before.address);
            const taken = there.find(({ address }) => address === state.address);
            expect(
              left === undefined || (taken?.isTunnel === true && !left.isTunnel) || left.device === 'cni0',
            ).toBe(true);
          }
        }
      }),
    );
  });
});
