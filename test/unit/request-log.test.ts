/**
 * Request log: the last requests by id, and no more of them than its capacity.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
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
  ...change,
});

test('a request is found by its id, with its attempts and its decision', () => {
  const log = new RequestHistory({ capacity: 10 });
  const attempts = [{ peer: 'worker-gpu-002', route: 'vpn', code: 'connect_timeout' }];
  log.add(request('a', { attempts, decision: () => ({ chosen: 'worker-gpu-001' }) }));
  assert.deepEqual(log.explain('a'), {
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
  });
  assert.equal(log.explain('b'), null);
});

test('only the last ones are kept, and of one id the newest', () => {
  const log = new RequestHistory({ capacity: 3 });
  for (const id of ['a', 'b', 'c', 'd']) log.add(request(id));
  log.add(request('d', { status: 503 }));
  assert.equal(log.explain('a'), null);
  assert.equal(log.explain('b'), null);
  assert.equal((log.explain('d') as { status: number }).status, 503);
  assert.notEqual(log.explain('c'), null);
});

test('of a failure no more is kept than can be read', () => {
  const log = new RequestHistory({ capacity: 3 });
  const skipped = Array.from({ length: 40 }, (_, n) => ({
    peer: `gpu-${n}`,
    reason: 'warming: '.repeat(1_000),
  }));
  log.add(request('a', { outcome: 'failed', code: 'no_peers', detail: 'x'.repeat(50_000), skipped }));
  const kept = log.explain('a') as { detail: string; not_asked: { peer: string; reason: string }[] };
  assert.equal(kept.detail.length, 2_000);
  assert.equal(kept.not_asked.length, 16);
  for (const { reason } of kept.not_asked) assert.match(reason, /^(?:warming: )+.*…$/);
  assert.ok(kept.not_asked.every(({ reason }) => reason.length === 240));
  log.add(request('c', { skipped }));
  assert.equal((log.explain('c') as { not_asked: object[] }).not_asked.length, 16);
  const short = { detail: 'nobody', skipped: [{ peer: 'gpu-1', reason: 'draining' }] };
  log.add(request('b', short));
  const whole = log.explain('b') as { detail: string; not_asked: object[] };
  assert.deepEqual([whole.detail, whole.not_asked], [short.detail, short.skipped]);
});
