/**
 * Asks the balancer whom a request goes to, with its reasons only where the app asks for them: they cost more than the
 * choice.
 */
import type { Balancer } from '../../core/balancing/balancer.ts';
import type { Choice } from '../../core/balancing/choice.ts';
import { type Explanation, truncateExplanation } from '../../core/balancing/explain.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { OutboundObserver } from '../observers.ts';
import type { OutboundRequest } from './request.ts';

export interface ChoiceOptions {
  readonly balancer: Balancer;
  readonly observer: Pick<OutboundObserver, 'decided'>;
  random(): number;
}

/** What the balancer chooses for a request, with its reasons where the app asks for them. */
export function choosePeer(
  request: OutboundRequest,
  { balancer, observer, random }: ChoiceOptions,
  peers: readonly Peer[],
  among: {
    readonly excluded: ReadonlySet<string>;
    readonly isRefused: boolean;
    readonly only: string | null;
  },
): { readonly choice: Choice; readonly decision: Explanation | null } {
  const { affinityKey, preferences, requirements, service, tunnelUnfit, wantsDecision } = request;
  const nowMs = performance.now();
  const { excluded, isRefused, only } = among;
  const wishes = { affinityKey, tunnelUnfit, requirements, preferences };
  const question = { service, nowMs, random, excluded, only, isRefused, ...wishes };
  let choice: Choice;
  let decision: Explanation | null = null;
  if (wantsDecision) {
    const decided = balancer.decide(peers, question);
    choice = decided.choice;
    decision = truncateExplanation(decided.explanation);
  } else {
    choice = balancer.choose(peers, question);
  }
  observer.decided((performance.now() - nowMs) * 1000);
  return { choice, decision };
}
