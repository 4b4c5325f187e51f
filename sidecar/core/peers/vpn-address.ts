/**
 * Which address of this host is its VPN address, looked at again and again while the host changes under us.
 *
 * Pure: what the host has and the time are parameters. An address that goes for a moment (a VPN that starts anew, a
 * network that flaps) is kept, since sockets bound to it work again when it returns; one that is there and as good as
 * any is never left for another.
 */

/** One address of one network device. */
export interface HostAddress {
  readonly device: string;
  /** Without a zone. */
  readonly address: string;
  /** A device without a link-layer address is made by a program: that of Nebula, WireGuard, or another VPN. */
  readonly isTunnel: boolean;
}

/** Where the VPN address comes from: `given` by the operator, or `found` among those of the host. */
export type VpnSource =
  | { readonly kind: 'none' }
  | { readonly kind: 'given'; readonly address: string }
  | { readonly kind: 'found'; readonly cidr: string; readonly device: string | null };

/** What of the host is meant, for people. */
export function vpnWanted(source: VpnSource): string {
  if (source.kind === 'none') return 'none';
  if (source.kind === 'given') return source.address;
  return source.device === null ? `in ${source.cidr}` : `of ${source.device} in ${source.cidr}`;
}

/** `waiting`: configured, and not there (yet, or any more). */
export type VpnState =
  | {
      readonly kind: 'up';
      readonly address: string;
      readonly device: string;
      /** Others that could be meant, as `address (device)`: the operator is to choose. */
      readonly others: readonly string[];
    }
  | { readonly kind: 'waiting' };

/** Devices that container runtimes make for their own networks: never where a VPN ends. */
const CONTAINER_DEVICE =
  /^(?:br-|bridge|cali|cbr|cilium|cni|docker|flannel|kube|lxc|lxd|podman|veth|virbr|weave)/i;

function rank({ device, isTunnel }: HostAddress): number {
  if (isTunnel) return 0;
  return CONTAINER_DEVICE.test(device) ? 2 : 1;
}

/** The best of those that may be meant: a tunnel device before any other, one of a container runtime last. */
export function bestVpnAddress(
  candidates: readonly HostAddress[],
  present: string | null,
): HostAddress | null {
  let best: HostAddress | null = null;
  for (const one of candidates) {
    const difference = best === null ? -1 : rank(one) - rank(best);
    if (difference < 0 || (difference === 0 && one.address === present)) best = one;
  }
  return best;
}

export class VpnAddress {
  #state: VpnState = { kind: 'waiting' };
  #goneSinceMs = Number.NaN;
  readonly #patienceMs: number;

  /** `patienceMs`: how long an address that went is waited for. */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  get state(): VpnState {
    return this.#state;
  }

  /** `candidates`: the addresses that may be meant, in the system's order. Returns the state from now on. */
  look(candidates: readonly HostAddress[], nowMs: number): VpnState {
    const present = this.#state.kind === 'up' ? this.#state : null;
    const best = bestVpnAddress(candidates, present?.address ?? null);
    const isPresent = present !== null && candidates.some(({ address }) => address === present.address);
    if (present !== null && !isPresent) {
      if (Number.isNaN(this.#goneSinceMs)) this.#goneSinceMs = nowMs;
      // What is left may be of another kind altogether, such as the bridge of a container runtime.
      const isReplaced = best !== null && (best.device === present.device || best.isTunnel);
      if (!isReplaced && nowMs - this.#goneSinceMs < this.#patienceMs) return present;
    }
    this.#goneSinceMs = Number.NaN;
    this.#state = best === null ? { kind: 'waiting' } : up(best, candidates);
    return this.#state;
  }
}

function up(best: HostAddress, candidates: readonly HostAddress[]): VpnState {
  const others = candidates.filter(({ address }) => address !== best.address);
  return {
    kind: 'up',
    address: best.address,
    device: best.device,
    others: others.map(({ address, device }) => `${address} (${device})`),
  };
}
