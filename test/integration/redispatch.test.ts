/** Peers that say no before their worker saw anything: the next one, without a mark. */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { type InboundSide, SERVICE } from '../support/meshes/inbound-side.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { answer } from '../support/wire/wire-messages.ts';

const GET = 'GET /service/llm-inference/ HTTP/1.1\r\nHost: a\r\n\r\n';
const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Tried {
  readonly peer: string;
  readonly route: string;
  readonly code: string;
  readonly stage: string;
}

function tried(body: string): string[] {
  return (JSON.parse(body).attempts as Tried[]).map(({ peer, route, code }) => `${peer} ${route} ${code}`);
}

describe('a peer that turns a request away', () => {
  const cases: readonly (readonly [code: string, spoil: (side: InboundSide) => Promise<void>])[] = [
    [
      'draining',
      async (side) => {
        side.isClosed = true;
      },
    ],
    ['warming', async () => {}],
    ['saturated', async () => {}],
    ['not_offered_here', async () => {}],
  ];
  for (const [code, spoil] of cases) {
    test(`${code}: ${code === 'not_offered_here' ? 'told when all say so' : 'the next peer is asked'}, without a mark`, async () => {
      const pair = await pairFor({
        peers: [{ isReady: code !== 'warming', concurrency: 1, queue: 0 }, {}],
        // A peer that offers another service than it is asked for: the record is old.
        ...(code === 'not_offered_here'
          ? { outbound: { aliases: new Map([['llm-inference', 'other']]) } }
          : {}),
      });
      const next = pair.sides[1] as InboundSide;
      if (code === 'not_offered_here') {
        for (const { peer } of pair.sides) {
          peer.adopt({ ...peer.record, seq: peer.record.seq + 1, services: [SERVICE, 'other'] }, 0);
        }
      }
      if (code === 'saturated')
        pair.b.service.admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
      await spoil(pair.b);
      next.origin.reply = OK;
      const client = await pair.client();
      client.send(`${POST}`);
      const got = await answer(client, 'POST');
      if (code === 'not_offered_here') {
        expect(tried(got.body)).toStrictEqual(['b vpn not_offered_here', 'c vpn not_offered_here']);
        expect(got.head.status).toBe(421);
        expect(pair.notOffered).toStrictEqual([pair.b.peer, next.peer]);
      } else {
        expect(got.head.status).toBe(200);
        expect(first(got.head.fields, 'sidecar-worker')).toBe('c');
        expect(pair.retried).toStrictEqual([code]);
      }
      expect(pair.b.standing.health.consecutiveFailures).toBe(0);
      expect(pair.b.peer.routes[0]?.health.state.kind).toBe('up');
      expect(pair.b.outstanding).toBe(0);
    });
  }

  test('everybody saturated: 503 with every attempt, and when to come again', async () => {
    const pair = await pairFor({
      peers: [
        { concurrency: 1, queue: 0 },
        { concurrency: 1, queue: 0 },
      ],
    });
    for (const side of pair.sides)
      side.service.admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
    const client = await pair.client();
    client.send(POST);
    const got = await answer(client, 'POST');
    expect(got.head.status).toBe(503);
    expect(first(got.head.fields, 'retry-after')).toBe('1');
    expect(first(got.head.fields, 'content-type')).toBe('application/problem+json');
    expect(JSON.parse(got.body).code).toBe('saturated');
    expect(tried(got.body).length).toBeGreaterThanOrEqual(2);
  });

  test('the decision comes along when it is asked for', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    for (const side of pair.sides) side.origin.reply = OK;
    const client = await pair.client();
    client.send(GET.replace('\r\n\r\n', '\r\nsidecar-explain: 1\r\n\r\n'));
    const got = await answer(client);
    const [decision] = all(got.head.fields, 'sidecar-decision');
    expect(JSON.parse(decision ?? '').candidates.length).toBe(2);
  });
});
