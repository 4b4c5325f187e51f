/**
 * Readiness: whether this sidecar can route now, and if not, why and what to do.
 *
 * A pure judgement of a few facts, apart from the server, because its sentences are what an operator reads first. No
 * peers is never ready, whatever the DHT says: a directory that answers with nobody has not worked. The local worker
 * plays no part: a sidecar routes for its app while its own worker still loads.
 */
import type { DhtState } from './labels.ts';

/** How long the own certificate holds. */
export interface CertificateFacts {
  /** Unix ms. */
  readonly endsMs: number;
  /** Negative once it has ended. */
  readonly daysLeft: number;
  /** Somebody else makes it; one of our own making is renewed in time. */
  readonly isForeign: boolean;
  /** It is time to renew it. */
  readonly isSoon: boolean;
}

export interface ReadinessFacts {
  /** Absent: there is none to speak of. */
  readonly certificate?: CertificateFacts;
  /** Peers with a verified record that have not departed. */
  readonly peersKnown: number;
  /** Of those, ready, neither suspect nor ejected, and heard over a route that has not failed since. */
  readonly peersUsable: number;
  /** The DHT node's own judgement; its hint says what is wrong and what to do, or how others join. */
  readonly dht: { readonly kind: DhtState; readonly nodes: number; readonly hint: string };
  readonly draining: boolean;
  /** The own key is revoked. */
  readonly isRevoked?: boolean;
  /** Keys that two sidecars have, or had a moment ago; `worker` null = the key of this one. */
  readonly clones?: readonly SharedKey[];
  /** What is waited for, when a VPN is configured and not there: its network or address. */
  readonly vpnAwaited: string | null;
}

export interface SharedKey {
  readonly worker: string | null;
  readonly addresses: readonly string[];
  readonly isOver: boolean;
  readonly outcome: 'new_key' | 'kept' | 'cannot_change' | 'seen';
}

export interface Reason {
  readonly code:
    | 'draining'
    | 'certificate_ended'
    | 'key_revoked'
    | 'certificate_ends_soon'
    | 'vpn_waiting'
    | 'no_other_member'
    | 'dht_unreachable'
    | 'no_peers'
    | 'no_usable_peers'
    | 'key_in_use_twice';
  readonly detail: string;
  /** What to do about it. */
  readonly hint: string;
}

/** The body of `/readyz`. */
export interface Readiness {
  readonly ready: boolean;
  readonly status: 'ready' | 'not_ready';
  readonly peers_known: number;
  readonly peers_usable: number;
  readonly dht: { readonly status: DhtState; readonly nodes: number; readonly hint: string };
  readonly certificate?: { readonly ends: string; readonly days_left: number };
  /** Also when ready: what is wrong without stopping requests. */
  readonly reasons: readonly Reason[];
}

export function assessReadiness(facts: ReadinessFacts): Readiness {
  const { certificate, dht, draining, peersKnown, peersUsable } = facts;
  const hasEnded = certificate?.isForeign === true && certificate.daysLeft < 0;
  const ready = !draining && !hasEnded && facts.isRevoked !== true && peersKnown > 0;
  return {
    ready,
    status: ready ? 'ready' : 'not_ready',
    peers_known: peersKnown,
    peers_usable: peersUsable,
    dht: { status: dht.kind, nodes: dht.nodes, hint: dht.hint },
    ...(certificate === undefined ? {} : { certificate: certificateJson(certificate) }),
    reasons: [
      drainingReason(facts),
      certificateReason(facts),
      revokedReason(facts),
      vpnReason(facts),
      discoveryReason(facts),
      peersReason(facts),
      ...(facts.clones ?? []).map(cloneReason),
    ].filter((reason) => reason !== null),
  };
}

function certificateJson({ daysLeft, endsMs }: CertificateFacts): Readiness['certificate'] & object {
  return { ends: new Date(endsMs).toISOString(), days_left: Math.round(daysLeft * 100) / 100 };
}

function certificateReason({ certificate }: ReadinessFacts): Reason | null {
  if (certificate?.isSoon !== true) return null;
  const ends = new Date(certificate.endsMs).toISOString();
  const hint =
    'Make a new one with `dht-sidecar mesh cert` and put it into the file of SIDECAR_CERT_FILE: no restart is needed.';
  return certificate.daysLeft < 0
    ? {
        code: 'certificate_ended',
        detail: `The certificate of this worker ended at ${ends}: peers refuse it.`,
        hint,
      }
    : {
        code: 'certificate_ends_soon',
        detail: `The certificate of this worker ends at ${ends}, in ${certificate.daysLeft.toFixed(1)} days.`,
        hint,
      };
}

function revokedReason({ isRevoked }: ReadinessFacts): Reason | null {
  if (isRevoked !== true) return null;
  return {
    code: 'key_revoked',
    detail: 'The key of this worker was revoked: peers refuse it.',
    hint: 'It needs another key: `dht-sidecar mesh join` in a fresh state directory, and `dht-sidecar mesh sign`.',
  };
}

function drainingReason({ draining }: ReadinessFacts): Reason | null {
  if (!draining) return null;
  return {
    code: 'draining',
    detail: 'This sidecar is shutting down.',
    hint: 'Nothing to do: requests that run are finished first.',
  };
}

function vpnReason({ vpnAwaited }: ReadinessFacts): Reason | null {
  if (vpnAwaited === null) return null;
  return {
    code: 'vpn_waiting',
    detail: `This host has no VPN address (${vpnAwaited}): no peer is reached by VPN, and none reaches it so.`,
    hint:
      'Is the VPN (Nebula) up on this host, and is it the network of SIDECAR_VPN_CIDR? It is looked for each second. ' +
      'Where there is none, SIDECAR_VPN_IP=none says so.',
  };
}

function discoveryReason({ dht, peersKnown }: ReadinessFacts): Reason | null {
  if (dht.kind === 'unreachable') {
    const serving = peersKnown > 0 ? `; the ${peersKnown} peers known from before are still used` : '';
    return { code: 'dht_unreachable', detail: `No node of the DHT answers${serving}.`, hint: dht.hint };
  }
  if (peersKnown > 0) return null;
  if (dht.kind === 'alone') {
    return { code: 'no_other_member', detail: 'No other member yet.', hint: dht.hint };
  }
  return {
    code: 'no_peers',
    detail: `The DHT answers (nodes known: ${dht.nodes}), and no other member has been found in it.`,
    hint:
      'Does another sidecar run and offer a service, with the same mesh key and a clock that agrees within ' +
      'minutes? A service is looked up when it is first asked for: `dht-sidecar explain <service>` asks.',
  };
}

function peersReason({ peersKnown, peersUsable }: ReadinessFacts): Reason | null {
  if (peersKnown === 0 || peersUsable > 0) return null;
  return {
    code: 'no_usable_peers',
    detail: `Peers known: ${peersKnown}; ready and reached from here: none.`,
    hint: 'They are warming, draining, suspect, ejected, or out of reach: `dht-sidecar peers` shows each.',
  };
}

function cloneReason({ worker, addresses, isOver, outcome }: SharedKey): Reason {
  const whose = worker === null ? 'the key of this sidecar' : `the key of ${worker}`;
  const where = addresses.join(' and ');
  const now: Record<SharedKey['outcome'], string> = {
    new_key: 'this one, the younger, has taken a new key',
    kept: isOver ? 'the other one has left it to this one' : 'the other one is younger, and is to change',
    cannot_change: isOver ? 'that is over' : 'and it cannot change by itself, since its certificate holds it',
    seen: isOver ? 'that is over' : 'the younger is to change',
  };
  return {
    code: 'key_in_use_twice',
    detail: `Two sidecars ${isOver ? 'ran' : 'run'} with ${whose} at once, at ${where}: ${now[outcome]}.`,
    hint:
      outcome === 'cannot_change'
        ? 'Make a certificate for each of them with `dht-sidecar mesh cert`.'
        : 'A state directory (state.dir) belongs to one sidecar: leave it out when a machine or a volume is copied.',
  };
}
