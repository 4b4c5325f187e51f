/**
 * The VPN address as it is configured: given, or to be found among those of the host, now and later.
 *
 * Apart from the other rules, because it is asked again while the sidecar runs: a VPN may come up after it, go, and
 * come back with another address.
 */
import { isLoopback } from '../core/host-port.ts';
import { isUnicast } from '../core/peers/record.ts';
import { bestVpnAddress, type HostAddress, type VpnSource } from '../core/peers/vpn-address.ts';
import type { Context } from './listeners.ts';
import { subnetOf } from './parsers.ts';

export function vpnSource({ tree, problems, warnings }: Context): VpnSource {
  const { ip, cidr, interface: device } = tree.values.vpn;
  if (ip === 'none' || tree.failed.has('vpn.ip')) return { kind: 'none' };
  if (ip === null) return { kind: 'found', cidr, device };
  if (device !== null) problems.add(tree.where('vpn.interface'), 'vpn.ip is set too; keep one of the two');
  if (!isUnicast(ip)) problems.add(tree.where('vpn.ip'), `${ip} is not the address of a host`);
  else if (subnetOf(cidr)?.(ip) === false) {
    warnings.push(
      `${tree.where('vpn.ip')}: ${ip} is outside of the VPN network ${cidr}: peers will not call it there`,
    );
  }
  return { kind: 'given', address: ip };
}

/** Those that the source means. */
export function vpnCandidates(source: VpnSource, addresses: readonly HostAddress[]): readonly HostAddress[] {
  if (source.kind === 'none') return [];
  if (source.kind === 'given') return addresses.filter(({ address }) => address === source.address);
  const contains = subnetOf(source.cidr);
  return addresses.filter(
    ({ address, device }) =>
      contains?.(address) === true && (source.device === null || device === source.device),
  );
}

/**
 * Whether it may come and go while the sidecar runs. A given one that the host does not show, since it belongs to the
 * machine around the container, is the operator's word: so when another address is bound, or the system tells of none.
 */
export function isWatched(
  source: VpnSource,
  isInboundAtVpn: boolean,
  addresses: readonly HostAddress[],
): boolean {
  if (source.kind !== 'given') return source.kind === 'found';
  // Any of 127.0.0.0/8 can be bound, and no device shows it.
  return isInboundAtVpn && addresses.length > 0 && !isLoopback(source.address);
}

/** As of now; null = there is none (yet). */
export function presentVpnIp(
  source: VpnSource,
  isWatchedOne: boolean,
  addresses: readonly HostAddress[],
): string | null {
  if (source.kind === 'given' && !isWatchedOne) return source.address;
  return bestVpnAddress(vpnCandidates(source, addresses), null)?.address ?? null;
}
