/**
 * Request log: the last requests by id, and no more of them than its capacity.
 */

import assert from 'node:assert/strict';
import test from 'node:test';
import { type LoggedRequest, RequestLog } from '../../sidecar/observe/request-log.ts';

const request = (id: string, change: Partial<LoggedRequest> = {}): LoggedRequest => ({
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
  notAsked: [],
  view: 'hit',
  viewAgeMs: 900,
  ...change,
});

test('a request is found by its id, with its attempts and its decision', () => {
  const log = new RequestLog({ capacity: 10 });
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
  const log = new RequestLog({ capacity: 3 });
  for (const id of ['a', 'b', 'c', 'd']) log.add(request(id));
  log.add(request('d', { status: 503 }));
  assert.equal(log.explain('a'), null);
  assert.equal(log.explain('b'), null);
  assert.equal((log.explain('d') as { status: number }).status, 503);
  assert.notEqual(log.explain('c'), null);
});
