/** What went wrong between a sidecar and its worker is told apart from the way to that sidecar. */
import { expect, test } from '@jest/globals';
import { CODES, type Code } from '../../sidecar/core/errors.ts';
import type { LocalService } from '../../sidecar/proxy/worker/local-service.ts';
import { atWorker } from '../../sidecar/proxy/worker/worker-fault.ts';
import { expectNamed } from '../support/runner/expectations.ts';

/** A request to the worker can end so. */
const BETWEEN = [
  'connect_failed',
  'connect_timeout',
  'certificate_untrusted',
  'upstream_reset',
  'upstream_protocol',
  'response_timeout',
];

test('a fault on the way to the worker names the worker, and no other does', () => {
  const service = { address: '127.0.0.1:9000' } as LocalService;
  for (const code of Object.keys(CODES) as Code[]) {
    const outcome = { kind: 'failed', code, stage: 'sent', detail: 'it broke' } as const;
    const told = BETWEEN.includes(code) ? 'its worker (127.0.0.1:9000): it broke' : 'it broke';
    expectNamed(atWorker(service, outcome), code).toStrictEqual({ ...outcome, detail: told });
  }
  const completed = { kind: 'completed', status: 200, firstByteMs: 1, answer: 'served' } as const;
  expect(atWorker(service, completed)).toBe(completed);
});
