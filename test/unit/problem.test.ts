/** The fields of a response stay well-formed and short, however much there is to say. */
import { describe, expect, test } from '@jest/globals';
import { CODES, type Code } from '../../sidecar/core/errors.ts';
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

function answerTo(
  detail: string,
  more: Partial<Parameters<typeof problemReply>[0]> = {},
): ReturnType<typeof problemReply> {
  return problemReply({
    ...more,
    code: more.code ?? 'no_peers',
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

  test('the body has what SDKs of the OpenAI kind show, and a type that RFC 9457 allows', () => {
    for (const code of Object.keys(CODES) as Code[]) {
      const { meaning } = CODES[code];
      const told = JSON.parse(answerTo('the cause', { code }).body.toString());
      expect(told.error).toStrictEqual({ message: `${meaning} the cause`, type: 'sidecar_error', code });
      expectNamed(new URL(told.type).href, code).toBe(told.type);
      expect(told.type).toBe(`tag:dht-sidecar,2026:${code}`);
      expect(told).toMatchObject({ title: meaning, status: CODES[code].status, code, detail: 'the cause' });
    }
    expect(JSON.parse(answerTo('').body.toString()).error.message).toBe(CODES.no_peers.meaning);
  });

  test('a repetition is advised only where it is safe and may help', () => {
    const advice = (code: Code, more: object): string | undefined =>
      first(answerTo('', { code, ...more }).fields, 'x-should-retry');
    expect(advice('no_peers', { isRepeatable: true })).toBe('true');
    expectNamed(advice('no_peers', { isRepeatable: false }), 'not safe').toBe('false');
    expectNamed(advice('no_peers', {}), 'not known').toBe('false');
    for (const code of ['bad_request', 'unknown_service', 'not_a_member', 'deadline', 'internal'] as const)
      expectNamed(advice(code, { isRepeatable: true }), code).toBe('false');
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
