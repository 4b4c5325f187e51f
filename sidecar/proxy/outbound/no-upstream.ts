/**
 * What a request that nobody can take is told: who is known and how each stands, or which names are known instead.
 *
 * Runs only when a request is refused, and is bounded however many workers there are.
 */
import type { Code } from '../../core/errors.ts';
import { nearestWord } from '../../core/nearest-word.ts';
import { type SkippedPeer, skippedPeers, skippedText } from '../../core/peers/exclusion-reason.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { AttemptTrace } from '../problem.ts';
import { attemptText } from './attempt-trace.ts';
import type { OutboundOptions } from './options.ts';
import type { OutboundRequest } from './request.ts';

export interface NoUpstream {
  readonly kind: 'nobody';
  readonly code: Code;
  readonly detail: string;
}

const MAX_NAMES = 20;
const MAX_ABSENT = 8;

/** Workers are known, and none is left. After failed attempts the last failure says more than that. */
export function noUpstreamAmong(
  request: OutboundRequest,
  code: Code,
  peers: readonly Peer[],
  options: OutboundOptions,
): NoUpstream {
  const { listed, more } = skippedPeers(peers, request.triedPeers, performance.now());
  request.skipped = [...listed, ...absentOf(request, options)];
  const others = skippedText(request.skipped, more);
  const last = request.attempts.at(-1);
  if (last !== undefined) return afterLast(last, others);
  const known = peers.length === 1 ? '1 worker offers' : `${peers.length} workers offer`;
  return {
    kind: 'nobody',
    code,
    detail: `${known} ${request.service}, and none can take the request now: ${others}`,
  };
}

/** Nobody is known to offer the service. `detail`: what the lookup saw. */
export function noUpstreamKnown(
  request: OutboundRequest,
  code: Code,
  detail: string,
  options: OutboundOptions,
): NoUpstream {
  const absent = absentOf(request, options);
  request.skipped = absent;
  const last = request.attempts.at(-1);
  if (last !== undefined) return afterLast(last, skippedText(absent, 0));
  const parts = [detail];
  if (absent.length > 0) parts.push(`Known until a moment ago: ${skippedText(absent, 0)}.`);
  else if (code === 'no_peers') parts.push(namesText(request.service, options));
  return { kind: 'nobody', code, detail: parts.filter((part) => part !== '').join(' ') };
}

/** Of those who were tried the attempts tell. */
function absentOf({ attempts, service }: OutboundRequest, { directory }: OutboundOptions): SkippedPeer[] {
  const tried = new Set(attempts.map(({ peer }) => peer));
  const absent = directory.absent?.(service, MAX_ABSENT + tried.size) ?? [];
  return absent.filter(({ peer }) => !tried.has(peer)).slice(0, MAX_ABSENT);
}

function afterLast(last: AttemptTrace, others: string): NoUpstream {
  const rest = others === '' ? 'nobody else is left to try' : `nobody else can be asked: ${others}`;
  return { kind: 'nobody', code: last.code, detail: `${attemptText(last)}; ${rest}` };
}

function namesText(service: string, { aliases, directory, services }: OutboundOptions): string {
  const known = new Set([...(directory.services?.() ?? []), ...services.keys()]);
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
