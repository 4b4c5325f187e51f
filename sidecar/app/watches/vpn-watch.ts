/**
 * Follows the VPN address of this host: it may come up after the sidecar, go, and come back as another.
 *
 * The listener of peers, the DHT node, the record and the routes to others follow in this order, so that no address is
 * told before it answers; requests that run live on. Asked once a second, since Node tells of no change.
 */

import type { Config } from '../../config/config.ts';
import { hostAddresses } from '../../config/host-facts.ts';
import { vpnCandidates } from '../../config/listeners.ts';
import { messageOf } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { type HostAddress, VpnAddress, type VpnState, vpnWanted } from '../../core/peers/vpn-address.ts';
import type { HttpListener } from '../../http/listener.ts';
import type { UpstreamPools } from '../../http/upstream-pools.ts';
import type { Clock } from '../../mesh/clock.ts';
import type { SelfReport } from '../self-report.ts';

export interface VpnWatchOptions {
  readonly config: Pick<Config, 'vpn' | 'inbound'>;
  readonly inbound: Pick<HttpListener, 'add' | 'addresses' | 'cutAt' | 'port' | 'remove'>;
  readonly toPeers: Pick<UpstreamPools, 'cutFrom' | 'leaveAddress'>;
  readonly self: Pick<SelfReport, 'foundVpn' | 'tunnelUrl' | 'vpnIp'>;
  /** Discovery and routes follow what `self` says now. Rejects while the DHT node cannot stand there. */
  readonly moved: () => Promise<void>;
  readonly addresses?: () => readonly HostAddress[];
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_INTERVAL_MS = 1_000;

/** While there is none: what comes by the VPN before it is followed finds a record that denies it. */
const WAITING_INTERVAL_MS = 250;

/** An address that went is waited for so long: then the record tells within 5 s. */
const PATIENCE_MS = 3_500;

const HINT =
  'is the VPN up, and its network that of SIDECAR_VPN_CIDR? Where there is none, SIDECAR_VPN_IP=none says so';

export class VpnWatch {
  readonly #options: VpnWatchOptions;
  readonly #tracked = new VpnAddress(PATIENCE_MS);
  #cancel = (): void => {};
  #isStopped = false;
  /** What everything has followed to. */
  #followed: string | null;
  /** A move has begun and failed: some have followed, so that also the way back is one. */
  #isHalfway = false;
  #saidAmbiguous = '';
  #saidFault = '';

  constructor(options: VpnWatchOptions) {
    this.#options = options;
    this.#followed = options.config.vpn.ip;
  }

  start(): void {
    const { config } = this.#options;
    if (!config.vpn.isWatched) return;
    if (this.#look().kind === 'waiting') this.#sayWaiting('no VPN address yet');
    this.#next();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  #next(): void {
    if (this.#isStopped) return;
    const afterMs = this.#followed === null ? WAITING_INTERVAL_MS : LOOK_INTERVAL_MS;
    this.#cancel = this.#options.clock.after(afterMs, () => {
      void this.#follow(this.#look()).then(() => this.#next());
    });
  }

  #look(): VpnState {
    const { addresses = hostAddresses, clock, config } = this.#options;
    const found = addresses();
    // Not even loopback: the system does not tell now, as when no file descriptor is left.
    if (found.length === 0) return this.#tracked.state;
    const state = this.#tracked.look(vpnCandidates(config.vpn.source, found), clock.monotonicMs());
    this.#sayAmbiguous(state);
    return state;
  }

  /** Never rejects; what failed is tried again at the next look. */
  async #follow(state: VpnState): Promise<void> {
    const { log, moved, self, toPeers } = this.#options;
    const ip = state.kind === 'up' ? state.address : null;
    const before = this.#followed;
    if (ip === before && !this.#isHalfway) return;
    this.#isHalfway = true;
    try {
      if (ip !== null) await this.#listenAt(ip);
      // First: what everybody is told of by the next requests must not go by what is dead.
      if (before !== null && before !== ip) toPeers.leaveAddress(before);
      self.foundVpn(ip);
      await moved();
    } catch (cause) {
      const reason = messageOf(cause);
      if (reason !== this.#saidFault) log.warn({ address: ip, reason }, 'cannot move to the VPN address yet');
      this.#saidFault = reason;
      return;
    }
    this.#followed = ip;
    this.#isHalfway = false;
    this.#saidFault = '';
    if (ip === before) return;
    if (before !== null && ip !== null) this.#left(before);
    const device = state.kind === 'up' ? state.device : null;
    if (ip === null) this.#sayWaiting('the VPN address is gone');
    else if (before === null) log.info({ address: ip, device }, 'the VPN is up');
    else log.info({ address: ip, device, reason: `it was ${before}` }, 'the VPN address is another one now');
  }

  /** Another has taken its place. What was connected by one that is gone hears of no end; one that is still there works. */
  #left(address: string): void {
    const { addresses = hostAddresses, inbound, toPeers } = this.#options;
    inbound.remove(address);
    if (addresses().some((one) => one.address === address)) return;
    inbound.cutAt(address);
    toPeers.cutFrom(address);
  }

  async #listenAt(host: string): Promise<void> {
    const { config, inbound } = this.#options;
    if (!config.inbound.isAtVpn || inbound.addresses.some((bound) => bound.host === host)) return;
    await inbound.add({ host, port: inbound.port });
  }

  #sayWaiting(what: string): void {
    const { config, log, self } = this.#options;
    const fields = { address: vpnWanted(config.vpn.source), hint: HINT };
    // With a tunnel it serves meanwhile; without, nobody can reach it.
    if (self.tunnelUrl === null) log.warn(fields, what);
    else log.info(fields, what);
  }

  #sayAmbiguous(state: VpnState): void {
    const others = state.kind === 'up' ? state.others : [];
    const said = others.length === 0 || state.kind !== 'up' ? '' : [state.address, ...others].join();
    if (said !== this.#saidAmbiguous && said !== '' && state.kind === 'up') {
      const { address, device } = state;
      this.#options.log.warn(
        {
          address,
          device,
          addresses: others.join(', '),
          hint: 'name the right one by SIDECAR_VPN_INTERFACE',
        },
        'several addresses lie in the VPN network: one of them is taken',
      );
    }
    this.#saidAmbiguous = said;
  }
}
