/** The fields of a response stay well-formed and short, however much there is to say. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import type { Downstream } from '../../sidecar/http/exchange.ts';
import { dialError } from '../../sidecar/http/sockets/dial-error.ts';
import { inFormOf, problemReply } from '../../sidecar/proxy/problem.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const MAX_FIELDS_BYTES = 8_192;
const GRPC = {
  version: '2.0',
  head: { method: 'POST', fields: ['content-type', 'application/grpc'] },
} as unknown as Downstream;

function answerTo(detail: string): ReturnType<typeof problemReply> {
  return problemReply({
    code: 'no_peers',
    detail,
    service: 'echo',
    requestId: 'id',
    attempts: [],
    proxyName: 'sidecar',
  });
}

describe("the fields of a sidecar's own response", () => {
  test('a long detail is cut in Proxy-Status, never in the middle of an escape, and whole in the body', () => {
    for (let length = 480; length <= 520; length++) {
      const detail = `${'a'.repeat(length)}"\\"`.repeat(3);
      const { fields, body } = answerTo(detail);
      const status = first(fields, 'proxy-status') ?? '';
      expectNamed(status, status).toMatch(/; details="(?:[^"\\]|\\["\\])*"$/);
      expect((JSON.parse(body.toString()) as { detail: string }).detail).toBe(detail);
    }
  });

  test('a detail of any length and language leaves a gRPC client its fields', () => {
    for (const piece of ['worker-1: warming; ', '100 % ', 'ü€', '€', '"']) {
      const detail = piece.repeat(5_000);
      const { fields } = inFormOf(GRPC, answerTo(detail), 'no_peers', detail);
      expect(first(fields, 'grpc-message') ?? '').toMatch(/^no_peers: /);
      const bytes = fields.join('').length;
      expectNamed(bytes, `${bytes} bytes of fields`).toBeLessThanOrEqual(MAX_FIELDS_BYTES);
    }
  });

  test('a certificate with a thousand names does not fill the reason', () => {
    const names = Array.from({ length: 1_000 }, (_, n) => `DNS:host-${n}.example`).join(', ');
    const error = Object.assign(new Error(`Hostname/IP does not match certificate's altnames: ${names}`), {
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
    const text = dialError({ host: 'a.example', port: 443 }, error);
    expect(text).toMatch(/^its TLS certificate is for another name \(Hostname/);
    expectNamed(text.length, `${text.length} characters`).toBeLessThan(300);
  });
});
