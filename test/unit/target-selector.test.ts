/** Where a request is sent, and which may be asked back from the queue that they are sent into. */
import { describe, expect, test } from '@jest/globals';
import { Balancer } from '../../sidecar/core/balancing/balancer.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { Ttfb } from '../../sidecar/core/peers/ttfb.ts';
import type { Downstream } from '../../sidecar/http/exchange.ts';
import { OutboundRequest } from '../../sidecar/proxy/outbound/request.ts';
import type { PeerTarget } from '../../sidecar/proxy/outbound/target.ts';
import { TargetSelector } from '../../sidecar/proxy/outbound/target-selector.ts';
import { figures, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

const TIMEOUTS = { connectMs: 1_000, headMs: 1_000, idleMs: 1_000 };
const REPLAY_BYTES = 1_000;

const BUSY = { in_flight: 4, concurrency: 4, queued: 3 };
const FREE = { in_flight: 0, concurrency: 4, queued: 0 };

/** A POST with these fields, as an app sends it. */
function post(...lines: string[]): OutboundRequest {
  const bytes = Buffer.from(['POST / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n'));
  const parsed = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
  mustHold(parsed.kind === 'head');
  const downstream = { head: parsed.head, version: '1.1', attach: () => {}, resumeBody: () => {} };
  return new OutboundRequest(
    downstream as unknown as Downstream,
    { service: SERVICE, target: '/', prefix: '' },
    {
      replayBytes: REPLAY_BYTES,
      tunnelLimits: { maxBodyBytes: 1_000_000, firstByteMs: 100_000 },
      ttfb: new Ttfb(),
      callPolicy: () => ({ vpn: TIMEOUTS, tunnel: TIMEOUTS, retryPost: false, retryRefused: true }),
    },
  );
}

/** Who is next, of these peers. */
function selectorOf(
  request: OutboundRequest,
  peers: readonly Peer[],
  checkWarming: () => Promise<void> = async () => {},
): TargetSelector {
  return new TargetSelector(request, {
    workerId: 'own',
    capabilities: {},
    services: new Map(),
    aliases: new Map(),
    directory: {
      find: () => ({ kind: 'hit', view: { kind: 'peers', peers, ageMs: 0 } }),
      peek: () => peers,
      reported: () => {},
      markSuspect: () => {},
      notOffered: () => {},
      search: async () => ({ kind: 'none', code: 'no_peers', detail: '' }),
      lookUpAnew: async () => ({ kind: 'peers', peers, ageMs: 0 }),
      checkWarming,
      absent: () => [],
      services: () => new Set(),
      silent: () => {},
    },
    balancer: new Balancer('adaptive', { ttlMs: 1e12 }),
    observer: { decided: () => {} },
    random: () => 0,
  });
}

/** Where it is sent, of two peers with these figures. */
async function chosen(request: OutboundRequest, load: typeof BUSY): Promise<PeerTarget> {
  const table = tableOf([0, 1].map((n) => recordOf(n, { figures: figures(load) })));
  const target = await selectorOf(request, table.offering(SERVICE)).next([]);
  mustHold(target.kind === 'peer');
  return target;
}

describe('a request that is sent into a queue', () => {
  const length = (bytes: number): string => `Content-Length: ${bytes}`;
  for (const [what, isMigratable, request] of [
    ['whose body is kept', true, () => post(length(REPLAY_BYTES))],
    ['without a body', true, () => post()],
    ['whose body is too long to be kept', false, () => post(length(REPLAY_BYTES + 1))],
    ['whose body has an unknown length', false, () => post('Transfer-Encoding: chunked')],
    ['with an affinity', false, () => post('sidecar-affinity: session')],
    ['that a tunnel cannot carry', false, () => post('Content-Type: application/grpc')],
  ] as const) {
    test(`one ${what} ${isMigratable ? 'may' : 'may not'} be asked back`, async () => {
      expect((await chosen(request(), BUSY)).isMigratable).toBe(isMigratable);
    });
  }

  test('one that finds a free slot is not waiting, so it is not asked back', async () => {
    const target = await chosen(post(), FREE);
    expectNamed(target.expectedQueue, 'a free slot').toBe(0);
    expect(target.isMigratable).toBe(false);
  });
});

describe('a request for which only workers are known that were warming', () => {
  const WARMING = recordOf(1, { state: 'warming' });

  test('goes to one that has become ready, once they are asked', async () => {
    const table = tableOf([WARMING]);
    const selector = selectorOf(post(), table.offering(SERVICE), async () => {
      table.apply({ ...WARMING, state: 'ready', seq: 2 }, 'record', 1);
    });
    const target = await selector.next([]);
    mustHold(target.kind === 'peer');
    expect(target.peer.record.worker_id).toBe('worker-1');
  });

  test('has them asked once, and is told that they are still warming', async () => {
    let checks = 0;
    const selector = selectorOf(post(), tableOf([WARMING]).offering(SERVICE), async () => {
      checks += 1;
    });
    for (let n = 0; n < 2; n += 1) {
      const target = await selector.next([]);
      mustHold(target.kind === 'no_upstream');
      expect(target.detail).toMatch(/worker-1.*warming/);
    }
    expect(checks).toBe(1);
  });
});
