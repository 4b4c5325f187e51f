/** What went wrong between a sidecar and its worker is told apart from the way to that sidecar. */
import { expect, test } from '@jest/globals';
import { CODES, type Code } from '../../sidecar/core/errors.ts';
import { atWorker } from '../../sidecar/proxy/worker/worker-fault.ts';
import { expectNamed } from '../support/runner/expectations.ts';

/** Of the gateway's own statuses (RFC 9110 §15.6.3, §15.6.5) all tell of whom it asked, but that the app's time is up. */
function isOfTheNextHop(code: Code): boolean {
  const { status } = CODES[code];
  return (status === 502 || status === 504) && code !== 'deadline';
}

test('a fault on the way to the worker names the worker, and no other does', () => {
  const service = { address: '127.0.0.1:9000' };
  for (const code of Object.keys(CODES) as Code[]) {
    const outcome = { kind: 'failed', code, stage: 'sent', detail: 'it broke' } as const;
    const told = isOfTheNextHop(code) ? 'its worker (127.0.0.1:9000): it broke' : 'it broke';
    expectNamed(atWorker(service, outcome), code).toStrictEqual({ ...outcome, detail: told });
  }
  const completed = { kind: 'completed', status: 200, firstByteMs: 1, answer: 'served' } as const;
  expect(atWorker(service, completed)).toBe(completed);
});
