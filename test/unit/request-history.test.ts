/**
 * Request log: the last requests by id, and no more of them than its capacity.
 */
import { describe, expect, test } from '@jest/globals';
import { type RecordedRequest, RequestHistory } from '../../sidecar/observe/request-history.ts';

const request = (id: string, change: Partial<RecordedRequest> = {}): RecordedRequest => ({
  id,
  atMs: 1_700_000_000_500,
  method: 'POST',
  service: 'llm-inference',
  route: 'vpn',
  peer: 'worker-gpu-001',
  status: 200,
  outcome: 'ok',
  code: null,
  firstByteMs: 12,
  durationMs: 80,
  attempts: [],
  detail: null,
  skipped: [],
  view: 'hit',
  viewAgeMs: 900,
  decision: null,
  ...change,
});

describe('the log of the last requests', () => {
  test('a request is found by its id, with its attempts and its decision', () => {
    const log = new RequestHistory({ capacity: 10 });
    const attempts = [{ peer: 'worker-gpu-002', route: 'vpn', code: 'connect_timeout' }];
    log.add(request('a', { attempts, decision: { chosen: 'worker-gpu-001' } }));
    expect(log.explain('a')).toStrictEqual({
      request_id: 'a',
      received_at: 1_700_000_000.5,
      method: 'POST',
      service: 'llm-inference',
      outcome: 'ok',
      code: null,
      status: 200,
      worker: 'worker-gpu-001',
      route: 'vpn',
      first_byte_ms: 12,
      duration_ms: 80,
      view: 'hit',
      view_age_ms: 900,
      detail: null,
      advice: null,
      failed_attempts: attempts,
      not_asked: [],
      decision: { chosen: 'worker-gpu-001' },
      bound: null,
    });
    expect(log.explain('b')).toBe(null);
  });

  test('the app that asked is told, where it has a name', () => {
    const log = new RequestHistory({ capacity: 3 });
    log.add(request('a', { app: 'chat' }));
    log.add(request('b', { app: null }));
    expect(log.explain('a')).toMatchObject({ app: 'chat' });
    expect(log.explain('b')).not.toHaveProperty('app');
  });

  test('only the last ones are kept, and of one id the newest', () => {
    const log = new RequestHistory({ capacity: 3 });
    for (const id of ['a', 'b', 'c', 'd']) log.add(request(id));
    log.add(request('d', { status: 503 }));
    expect(log.explain('a')).toBe(null);
    expect(log.explain('b')).toBe(null);
    expect((log.explain('d') as { status: number }).status).toBe(503);
    expect(log.explain('c')).not.toBe(null);
  });

  test('of a failure no more is kept than can be read', () => {
    const log = new RequestHistory({ capacity: 3 });
    const skipped = Array.from({ length: 40 }, (_, n) => ({
      peer: `gpu-${n}`,
      reason: 'warming: '.repeat(1_000),
    }));
    log.add(request('a', { outcome: 'failed', code: 'no_peers', detail: 'x'.repeat(50_000), skipped }));
    const kept = log.explain('a') as { detail: string; not_asked: { peer: string; reason: string }[] };
    expect(kept.detail.length).toBe(2_000);
    expect(kept.not_asked).toHaveLength(16);
    for (const { reason } of kept.not_asked) expect(reason).toMatch(/^(?:warming: )+.*…$/);
    expect(kept.not_asked.every(({ reason }) => reason.length === 240)).toBe(true);
    log.add(request('c', { skipped }));
    expect((log.explain('c') as { not_asked: object[] }).not_asked).toHaveLength(16);
    const short = { detail: 'nobody', skipped: [{ peer: 'gpu-1', reason: 'draining' }] };
    log.add(request('b', short));
    const whole = log.explain('b') as { detail: string; not_asked: object[] };
    expect([whole.detail, whole.not_asked]).toStrictEqual([short.detail, short.skipped]);
  });
});
