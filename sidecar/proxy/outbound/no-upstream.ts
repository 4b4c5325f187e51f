/**
 * What a request that nobody can take is told: who is known and how each stands, or which names are known instead.
 *
 * Runs only when a request is refused, and is bounded however many workers there are.
 */
import type { Code } from '../../core/errors.ts';
import { nearestWord } from '../../core/nearest-word.ts';
import { type SkippedPeer, skippedPeers, skippedText } from '../../core/peers/exclusion-reason.ts';
import type { Peer } from '../../core/peers/peer.ts';
import {
  type Capabilities,
  NO_REQUIREMENTS,
  type Requirement,
  unmetSummary,
} from '../../core/peers/requirements.ts';
import type { AttemptTrace } from '../problem.ts';
import { attemptText } from './attempt-trace.ts';
import type { PeerDirectory } from './directory.ts';

/** What is known besides the peers that offer the service. */
export interface NoUpstreamOptions {
  readonly directory: Pick<PeerDirectory, 'absent' | 'services'>;
  readonly services: { keys(): Iterable<string> };
  readonly aliases: ReadonlyMap<string, string>;
}

export interface NoUpstream {
  readonly kind: 'no_upstream';
  readonly code: Code;
  readonly detail: string;
  /** Workers that could not be asked. */
  readonly skipped: readonly SkippedPeer[];
}

interface Asked {
  readonly service: string;
  /** Those that failed. */
  readonly attempts: readonly AttemptTrace[];
  readonly requirements?: readonly Requirement[];
  /** The worker beside this sidecar, where it offers the service and lacks what is required. */
  readonly lacking?: Worker | null;
}

interface Worker {
  readonly worker_id: string;
  readonly capabilities: Capabilities;
}

const MAX_NAMES = 20;
const MAX_ABSENT = 8;

/** Workers are known, and none is left. After failed attempts the last failure says more than that. */
export function noUpstreamAmong(
  asked: Asked,
  code: Code,
  peers: readonly Peer[],
  triedKeys: ReadonlySet<string>,
  options: NoUpstreamOptions,
): NoUpstream {
  const { service, requirements } = asked;
  const { listed, more } = skippedPeers(peers, service, triedKeys, performance.now(), requirements);
  const skipped = [...listed, ...absentOf(asked, options)];
  const others = skippedText(skipped, more);
  const last = asked.attempts.at(-1);
  if (last !== undefined) return afterLast(last, others, skipped);
  if (code === 'requirements_unmet') return unmet(asked, peers, skipped);
  const known = peers.length === 1 ? '1 worker offers' : `${peers.length} workers offer`;
  const detail = `${known} ${asked.service}, and none can take the request now: ${others}`;
  return { kind: 'no_upstream', code, detail, skipped };
}

/** Nobody is known to offer the service. `detail`: what the lookup saw. */
export function noUpstreamKnown(
  asked: Asked,
  code: Code,
  detail: string,
  options: NoUpstreamOptions,
): NoUpstream {
  const skipped = absentOf(asked, options);
  const last = asked.attempts.at(-1);
  if (last !== undefined) return afterLast(last, skippedText(skipped, 0), skipped);
  if (asked.lacking != null) return unmet(asked, [], skipped);
  const parts = [detail];
  if (skipped.length > 0) parts.push(`Known until a moment ago: ${skippedText(skipped, 0)}.`);
  else if (code === 'no_peers') parts.push(namesText(asked.service, options));
  return { kind: 'no_upstream', code, detail: parts.filter((part) => part !== '').join(' '), skipped };
}

function unmet(
  { service, requirements = NO_REQUIREMENTS, lacking = null }: Asked,
  peers: readonly Peer[],
  skipped: readonly SkippedPeer[],
): NoUpstream {
  const workers: Worker[] = peers.map(({ record }) => record);
  if (lacking !== null) workers.push(lacking);
  const detail = `no worker of ${service} has what is required: ${unmetSummary(workers, requirements)}`;
  return { kind: 'no_upstream', code: 'requirements_unmet', detail, skipped };
}

/** Nobody was asked in time. */
export function tooLate(detail: string): NoUpstream {
  return { kind: 'no_upstream', code: 'deadline', detail, skipped: [] };
}

/** Of those who were tried the attempts tell. */
function absentOf({ attempts, service }: Asked, { directory }: NoUpstreamOptions): SkippedPeer[] {
  const tried = new Set(attempts.map(({ peer }) => peer));
  const absent = directory.absent(service, MAX_ABSENT + tried.size);
  return absent.filter(({ peer }) => !tried.has(peer)).slice(0, MAX_ABSENT);
}

function afterLast(last: AttemptTrace, others: string, skipped: readonly SkippedPeer[]): NoUpstream {
  const rest = others === '' ? 'nobody else is left to try' : `nobody else can be asked: ${others}`;
  return { kind: 'no_upstream', code: last.code, detail: `${attemptText(last)}; ${rest}`, skipped };
}

function namesText(service: string, { aliases, directory, services }: NoUpstreamOptions): string {
  const known = new Set([...directory.services(), ...services.keys()]);
  if (known.size === 0) return 'No member is known here that offers any service.';
  const near = nearestWord(
    service,
    [...known, ...aliases.keys()].filter((name) => name !== service),
  );
  const names = [...known].sort();
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : '';
  const hint = near === null ? '' : `Did you mean ${near}? `;
  return `${hint}Services known here: ${names.slice(0, MAX_NAMES).join(', ')}${more}.`;
}
