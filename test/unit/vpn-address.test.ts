/**
 * The VPN address of a host that changes: which one is taken, how long one that went is waited for.
 */
import { describe, expect, test } from '@jest/globals';
import { VpnWatch } from '../../sidecar/app/watches/vpn-watch.ts';
import { silentLog } from '../../sidecar/core/log.ts';
import { bestVpnAddress, type HostAddress, VpnAddress } from '../../sidecar/core/peers/vpn-address.ts';
import { FakeClock } from '../support/runner/fake-clock.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const PATIENCE_MS = 3_500;
const nebula: HostAddress = { device: 'nebula1', address: '10.42.0.11', isTunnel: true };
const card: HostAddress = { device: 'eth0', address: '10.42.0.7', isTunnel: false };
const bridge: HostAddress = { device: 'cni0', address: '10.42.7.1', isTunnel: false };

describe('the VPN address among those of a host', () => {
  test('a tunnel device comes before a card, and a bridge of containers last, in whatever order', () => {
    expect(bestVpnAddress([bridge, card, nebula], null)).toBe(nebula);
    expect(bestVpnAddress([bridge, card], null)).toBe(card);
    expect(bestVpnAddress([bridge], null)).toBe(bridge);
    expect(bestVpnAddress([], null)).toBeNull();
  });

  test('of two as good the present one stays, and without one the first is taken', () => {
    const second = { ...nebula, device: 'nebula2', address: '10.42.0.12' };
    expect(bestVpnAddress([nebula, second], null)).toBe(nebula);
    expect(bestVpnAddress([nebula, second], second.address)).toBe(second);
  });

  test('others that could be meant are told', () => {
    const state = new VpnAddress(PATIENCE_MS).look([bridge, nebula], 0);
    expect(state).toStrictEqual({
      kind: 'up',
      address: '10.42.0.11',
      device: 'nebula1',
      others: ['10.42.7.1 (cni0)'],
    });
  });
});

describe('a VPN that comes and goes', () => {
  const addressAt = (vpn: VpnAddress, candidates: readonly HostAddress[], nowMs: number) => {
    const state = vpn.look(candidates, nowMs);
    return state.kind === 'up' ? state.address : null;
  };

  test('comes up late: from the next look on', () => {
    const vpn = new VpnAddress(PATIENCE_MS);
    expect(addressAt(vpn, [], 0)).toBeNull();
    expect(addressAt(vpn, [nebula], 1_000)).toBe(nebula.address);
  });

  test('another address on the same device is taken at once', () => {
    const vpn = new VpnAddress(PATIENCE_MS);
    vpn.look([nebula], 0);
    expect(addressAt(vpn, [{ ...nebula, address: '10.42.0.12' }], 1)).toBe('10.42.0.12');
  });

  test('gone for a moment it is kept, gone for longer it is gone', () => {
    const vpn = new VpnAddress(PATIENCE_MS);
    vpn.look([nebula], 0);
    expect(addressAt(vpn, [], 1_000)).toBe(nebula.address);
    expect(addressAt(vpn, [nebula], 3_000)).toBe(nebula.address);
    expect(addressAt(vpn, [], 4_000)).toBe(nebula.address);
    expect(addressAt(vpn, [], 4_000 + PATIENCE_MS)).toBeNull();
  });

  test('gone for a moment, the bridge of a container runtime does not take its place', () => {
    const vpn = new VpnAddress(PATIENCE_MS);
    vpn.look([nebula, bridge], 0);
    expect(addressAt(vpn, [bridge], 1_000)).toBe(nebula.address);
    expect(addressAt(vpn, [nebula, bridge], 2_000)).toBe(nebula.address);
  });

  test('a better one that comes later is taken', () => {
    const vpn = new VpnAddress(PATIENCE_MS);
    expect(addressAt(vpn, [bridge], 0)).toBe(bridge.address);
    expect(addressAt(vpn, [bridge, nebula], 1_000)).toBe(nebula.address);
  });
});

describe('what follows the VPN address', () => {
  const loopback: HostAddress = { device: 'lo', address: '127.0.0.1', isTunnel: false };

  function watched(ip: string | null) {
    const clock = new FakeClock();
    const told: (string | null)[] = [];
    const host = { addresses: [loopback] as readonly HostAddress[], isClosed: false };
    const self = {
      vpnIp: ip,
      tunnelUrl: null,
      foundVpn: (found: string | null) => {
        self.vpnIp = found;
      },
    };
    const watch = new VpnWatch({
      config: {
        vpn: {
          source: { kind: 'given', address: nebula.address },
          isWatched: true,
          ip,
          cidr: '10.42.0.0/16',
        },
        inbound: { listen: { host: '0.0.0.0', port: 0 }, isAtVpn: false },
      },
      inbound: { addresses: [], port: 8_000, add: async () => {}, remove: () => {}, cutAt: () => {} },
      toPeers: { cutFrom: () => {}, leaveAddress: () => {} },
      self,
      moved: async () => {
        if (host.isClosed && self.vpnIp !== null) throw new Error('no such address');
        told.push(self.vpnIp);
      },
      addresses: () => host.addresses,
      clock,
      log: silentLog,
    });
    onTestEnd(() => watch.stop());
    return { clock, host, self, told, watch };
  }

  test('an address that goes before all have followed to it is taken back from those who had', async () => {
    const { clock, host, self, told, watch } = watched(null);
    watch.start();
    host.addresses = [loopback, nebula];
    host.isClosed = true;
    await clock.advance(1_000);
    expect(self.vpnIp).toBe(nebula.address);
    host.addresses = [loopback];
    await clock.advance(PATIENCE_MS + 1_000);
    expect(self.vpnIp).toBe(null);
    expect(told.at(-1)).toBe(null);
  });

  test('a system that tells of no address at all, not even loopback, has taken none away', async () => {
    const { clock, host, self, told, watch } = watched(nebula.address);
    host.addresses = [loopback, nebula];
    watch.start();
    host.addresses = [];
    await clock.advance(3 * PATIENCE_MS);
    expect([self.vpnIp, told]).toStrictEqual([nebula.address, []]);
    host.addresses = [loopback];
    await clock.advance(3 * PATIENCE_MS);
    expect([self.vpnIp, told]).toStrictEqual([null, [null]]);
  });
});
