/** What of an attempt is held against a peer in words. */
import { describe, expect, test } from '@jest/globals';
import type { Code } from '../../sidecar/core/errors.ts';
import { faultText } from '../../sidecar/proxy/outbound/attempt-trace.ts';

const failed = (code: Code) => faultText({ kind: 'failed', code, stage: 'sent', detail: 'as it was' });

describe('what a peer is blamed for', () => {
  test('a fault of the peer, or of the way to it, is its last failure', () => {
    for (const code of ['connect_failed', 'upstream_reset', 'response_timeout', 'saturated'] as const)
      expect(failed(code)).toBe(`${code}: as it was`);
    expect(faultText({ kind: 'completed', status: 500, firstByteMs: 1, answer: 'failed' })).toBe(
      'its worker answered with 500',
    );
  });

  test('what a request brought about itself is none', () => {
    for (const code of ['request_timeout', 'loop_detected', 'grpc_not_carried', 'body_too_large'] as const)
      expect(failed(code)).toBe(null);
    const detail = 'the client reads no more';
    expect(faultText({ kind: 'broken', code: 'request_timeout', status: 200, firstByteMs: 1, detail })).toBe(
      null,
    );
    expect(faultText({ kind: 'completed', status: 404, firstByteMs: 1, answer: 'rejected' })).toBe(null);
    expect(faultText({ kind: 'client_gone', firstByteMs: null })).toBe(null);
  });
});
