/**
 * Where this sidecar lets itself be led by what peers say of themselves: a record, an announcement and an introduction
 * name addresses, and any member could name those of a metadata service, of a database on loopback, or of this sidecar.
 *
 * A VPN address lies in the VPN, and is no port of this sidecar or its workers. A tunnel leads to public addresses, as
 * far as `tunnel.allow` does not say otherwise; its name is judged by the address that is connected to, so that an
 * answer of DNS which changes in between (rebinding) changes nothing.
 */

import { reachOf } from '../config/address-reach.ts';
import type { Config } from '../config/config.ts';
import { subnetOf } from '../config/parsers.ts';
import { formatHostPort, type HostPort, isLoopback } from '../core/host-port.ts';
import type { Origin } from '../http/exchange.ts';

type Rules = Pick<Config, 'vpn' | 'tunnel' | 'admin' | 'services'>;

export class PeerAddresses {
  #vpnIp: string | null;
  readonly #isInVpn: (host: string) => boolean;
  readonly #tunnel: Config['tunnel']['allow'];
  readonly #ownPorts: ReadonlySet<number>;

  /** `listening`: the ports of inbound and outbound. */
  constructor({ vpn, tunnel, admin, services }: Rules, listening: readonly number[]) {
    this.#vpnIp = vpn.ip;
    this.#isInVpn = subnetOf(vpn.cidr) ?? (() => false);
    this.#tunnel = tunnel.allow;
    const workers = services.flatMap(({ urls }) =>
      urls.flatMap(({ host, port, socketPath }) => (socketPath === null && isLoopback(host) ? [port] : [])),
    );
    this.#ownPorts = new Set([...listening, admin.listen.port, ...workers]);
  }

  /** This host's VPN address is another one from now on. */
  movedTo(vpnIp: string | null): void {
    this.#vpnIp = vpnIp;
  }

  /** Whether a peer may be where an announcement, a record or an introduction says. */
  readonly mayBeAt = ({ host, port }: HostPort): boolean =>
    this.#isInVpn(host) && !(this.#ownPorts.has(port) && this.#isHere(host));

  /** Why no connection is made to an address of a peer; null if one is. */
  readonly whyNot = (origin: Origin, address: string): string | null => {
    if (origin.scheme !== 'https') {
      const at = { host: address, port: origin.port };
      return this.mayBeAt(at)
        ? null
        : `${formatHostPort(at)} is outside of vpn.cidr, or a port of this sidecar`;
    }
    const reach = reachOf(address);
    if (reach === 'public' || reach === null || this.#tunnel.reaches.has(reach)) return null;
    if (this.#tunnel.networks.some((isInside) => isInside(address))) return null;
    const where = address === origin.host ? `${address} is` : `${origin.host} is at ${address},`;
    return `${where} a ${reach} address, where tunnels lead only if tunnel.allow (SIDECAR_TUNNEL_ALLOW) says so`;
  };

  #isHere(host: string): boolean {
    return host === this.#vpnIp || isLoopback(host);
  }
}
