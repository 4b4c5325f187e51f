/**
 * Where the next attempt goes: the worker beside us, the next route of the peer that was chosen, or another peer.
 *
 * Apart from the loop that uses it, because "who is next" after each kind of failure is a rule of its own.
 */
import type { Choice } from '../../core/balancing/choice.ts';
import { truncateExplanation } from '../../core/balancing/explain.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { Route } from '../../core/peers/route.ts';
import { usableRoutes } from '../../core/peers/route-order.ts';
import { sortedByFitness } from '../../core/peers/tunnel-limits.ts';
import type { LocalService } from '../worker/local-service.ts';
import type { View } from './directory.ts';
import { type NoUpstream, noUpstreamAmong, noUpstreamKnown } from './no-upstream.ts';
import type { OutboundOptions } from './options.ts';
import type { OutboundRequest } from './request.ts';

export type Target =
  | { readonly kind: 'local'; readonly service: LocalService }
  | {
      readonly kind: 'peer';
      readonly peer: Peer;
      readonly route: Route;
      /** The queue that the caller counts on there; null = any. */
      readonly expectedQueue: number | null;
    }
  | NoUpstream;

export async function nextTarget(request: OutboundRequest, options: OutboundOptions): Promise<Target> {
  const local = options.services.get(request.service);
  if (local !== undefined && request.attempts.length === 0) {
    if (local.state === 'ready') {
      request.routed('local');
      request.view = 'local';
      return { kind: 'local', service: local };
    }
    request.noteLocal(local);
  }
  const another = request.routesLeft.shift();
  if (another !== undefined && request.chosen !== null) {
    return {
      kind: 'peer',
      peer: request.chosen.peer,
      route: another,
      expectedQueue: request.chosen.expectedQueue,
    };
  }
  const moved = migrationTarget(request);
  if (moved !== null) return moved;
  const view = await currentView(request, options);
  if (view === null)
    return {
      kind: 'nobody',
      code: 'deadline',
      detail: 'the deadline of the caller passed while the service was looked up',
    };
  if (view.kind === 'none') return noUpstreamKnown(request, view.code, view.detail, options);
  const choice = choose(request, view.peers, options);
  const { checkWarming } = options.directory;
  if (choice.kind === 'chosen' || checkWarming === undefined || !mayBeReadyByNow(request, view.peers)) {
    return targetOf(request, choice, view.peers, options);
  }
  request.hasCheckedWarming = true;
  const looked = await whileWanted(
    request,
    checkWarming(request.service).then(() => true),
  );
  if (looked === null)
    return { kind: 'nobody', code: 'deadline', detail: 'the deadline of the caller passed' };
  const peers = options.directory.peek(request.service);
  return targetOf(request, choose(request, peers, options), peers, options);
}

/** What is known of those that were warming is a moment old, and there is nobody else. */
function mayBeReadyByNow(request: OutboundRequest, peers: readonly Peer[]): boolean {
  if (request.hasCheckedWarming || request.spare.length > 0) return false;
  return peers.some(({ key, state }) => state === 'warming' && !request.triedPeers.has(key));
}

/** null: nobody waits for it any more, because the client has left or its deadline has passed. */
async function currentView(request: OutboundRequest, { directory }: OutboundOptions): Promise<View | null> {
  if (request.view === 'hit' || request.view === 'wait') {
    return { kind: 'peers', peers: directory.peek(request.service), ageMs: request.viewAgeMs ?? 0 };
  }
  const found = directory.find(request.service);
  request.view = found.kind;
  const view = found.kind === 'hit' ? found.view : await whileWanted(request, found.ready);
  if (view?.kind === 'peers') request.viewAgeMs = view.ageMs;
  return view;
}

/** A lookup may take seconds: a client that leaves, or its deadline, does not wait for it. */
async function whileWanted<T>(request: OutboundRequest, ready: Promise<T>): Promise<T | null> {
  const { relay, deadline } = request;
  const gone = new Promise<null>((resolve) => {
    relay.listen({ onClientDrain: () => {}, onGone: () => resolve(null) });
    if (relay.isGone) resolve(null);
  });
  const late = deadline?.passed.then(() => null);
  try {
    return await Promise.race(late === undefined ? [ready, gone] : [ready, gone, late]);
  } finally {
    relay.listen(null);
  }
}

function choose(request: OutboundRequest, peers: readonly Peer[], options: OutboundOptions): Choice {
  const { balancer, observer, random } = options;
  const nowMs = performance.now();
  const question = {
    service: request.service,
    nowMs,
    random,
    excluded: request.triedPeers,
    affinityKey: request.affinityKey,
    tunnelUnfit: request.tunnelUnfit,
  };
  let choice: Choice;
  if (request.wantsDecision) {
    const decided = balancer.decide(peers, question);
    choice = decided.choice;
    request.decision = truncateExplanation(decided.explanation);
  } else {
    choice = balancer.choose(peers, question);
  }
  observer.decided((performance.now() - nowMs) * 1000);
  return choice;
}

/** Taken back from a queue to go to a certain peer; null when it was not, or cannot go there any more. */
function migrationTarget(request: OutboundRequest): Target | null {
  const { redispatch, service, tunnelUnfit } = request;
  const { migration } = redispatch;
  if (migration?.state !== 'back') return null;
  migration.state = 'over';
  const { to } = migration;
  if (to.state !== 'ready' || to.presence !== 'live' || request.triedPeers.has(to.key)) return null;
  const endpoint = to.endpoint(service);
  const usable = usableRoutes(to.routes, performance.now());
  const { routes } = sortedByFitness(usable, tunnelUnfit);
  const [route, ...others] = routes;
  if (endpoint === undefined || route === undefined) return null;
  request.chosen = { kind: 'chosen', peer: to, endpoint, routes, spare: [], expectedQueue: null };
  request.routesLeft = others;
  request.triedPeers.add(to.key);
  return { kind: 'peer', peer: to, route, expectedQueue: null };
}

function targetOf(
  request: OutboundRequest,
  choice: Choice,
  peers: readonly Peer[],
  options: OutboundOptions,
): Target {
  if (choice.kind === 'refused') {
    const spare = request.spare.shift();
    if (spare !== undefined) return { kind: 'peer', ...spare, expectedQueue: null };
    if (peers.length > 0) return noUpstreamAmong(request, choice.code, peers, options);
    return noUpstreamKnown(
      request,
      choice.code,
      'No worker is known to offer this service any more.',
      options,
    );
  }
  const [route, ...others] = choice.routes;
  request.chosen = choice;
  request.routesLeft = others;
  for (const spare of choice.spare) request.spare.push({ peer: choice.peer, route: spare });
  request.triedPeers.add(choice.peer.key);
  request.routed('forwarded');
  return { kind: 'peer', peer: choice.peer, route: route as Route, expectedQueue: choice.expectedQueue };
}
