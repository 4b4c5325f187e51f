/**
 * Addresses of peers: which announced ones may be asked, and where a tunnel URL leads.
 *
 * An announcement is unsigned, and asks us to connect somewhere; this is the fence. It must not connect.
 */
import type { Config, HostPort } from '../config/config.ts';
import { subnetOf } from '../config/parsers.ts';
import type { PeerAddress } from '../proxy/peer/client.ts';

/** An announcement asks us to connect somewhere: only to addresses inside the VPN (or beside us, on loopback). */
export function vpnFilter(config: Config): (address: HostPort) => boolean {
  const isInside = subnetOf(config.vpn.cidr);
  const isLoopback = subnetOf('127.0.0.0/8');
  const onLoopback = config.vpn.ip !== null && isLoopback?.(config.vpn.ip) === true;
  return ({ host }) => isInside?.(host) === true || (onLoopback && isLoopback?.(host) === true);
}

export function peerAddress(from: HostPort | string): PeerAddress {
  if (typeof from !== 'string') return { scheme: 'http', host: from.host, port: from.port, basePath: '' };
  const url = new URL(from);
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  return {
    scheme,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port),
    basePath: url.pathname.replace(/\/+$/, ''),
  };
}
