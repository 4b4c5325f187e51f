/** Requests whose fields, and responses whose heads, repeat those before on the connection go on as if each had come alone. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { namesUrls } from '../../sidecar/core/forwarding/mounted-fields.ts';
import { fieldLines } from '../../sidecar/core/http/http1-encode.ts';
import { type LastFields, parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { type LastResponse, parseResponseHead } from '../../sidecar/core/http/http1-response-head.ts';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import { RepeatedSection } from '../../sidecar/core/http/repeated-section.ts';
import { repeatedFields, responseHeaders } from '../../sidecar/proxy/hop-headers.ts';
import { workerRequest } from '../../sidecar/proxy/worker/worker-hop.ts';
import { mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

const WORKERS = [
  { scheme: 'http', basePath: '', host: '127.0.0.1:9000', sentHost: { kind: 'worker' } },
  { scheme: 'http', basePath: '/v1', host: '127.0.0.1:9001', sentHost: { kind: 'keep' } },
  { scheme: 'https', basePath: '/b', host: '127.0.0.1:9002', sentHost: { kind: 'name', name: 'model' } },
] as const;

/** Each is read by some step on the way. */
const LINES = [
  'Accept: */*',
  'Max-Forwards: 3',
  'Origin: http://127.0.0.1:8080',
  'Referer: http://127.0.0.1:8080/service/a/x',
  'Connection: close, x-own',
  'X-Own: 1',
  'TE: trailers',
  'Content-Length: 2',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Expect: 100-continue',
  'Forwarded: for=1.2.3.4;host=elsewhere',
  'X-Forwarded-For: 1.2.3.4',
  'Via: 1.1 before',
  'sidecar-worker: x',
];

const step = fc.record({
  method: fc.constantFrom('GET', 'OPTIONS', 'TRACE', 'POST'),
  target: fc.constantFrom('/', '/x?y=1', '/a//b'),
  prefix: fc.constantFrom('', '/service/a', '/service/b'),
  worker: fc.constantFrom(...WORKERS),
  lines: fc.nat(),
});

function parsed(text: string, last: LastFields | null): RequestHead {
  const bytes = Buffer.from(text, 'latin1');
  const result = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS, last);
  mustHold(result.kind === 'head');
  return result.head;
}

test('a request that repeats the fields of the one before is sent on as it is without that', () => {
  fc.assert(
    fc.property(
      fc.array(fc.subarray(LINES), { minLength: 1, maxLength: 2 }),
      fc.array(step, { maxLength: 12 }),
      fc.constantFrom('app', 'sidecar'),
      fc.boolean(),
      (sections, steps, sender, trusted) => {
        const last: LastFields = new RepeatedSection();
        let repeated = 0;
        for (const { method, target, prefix, worker, lines } of steps) {
          const section = sections[lines % sections.length] ?? [];
          const text = `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n${section.map((line) => `${line}\r\n`).join('')}\r\n`;
          const facts = {
            version: '1.1',
            clientIp: '10.0.0.1',
            pseudonym: 'p',
            trusted,
            prefix,
            sender,
          } as const;
          const head = parsed(text, last);
          if (head.repeated !== undefined) repeated += 1;
          const { first, ...sent } = workerRequest(worker, target, head, facts);
          expect(sent).toStrictEqual(workerRequest(worker, target, parsed(text, null), facts));
          if (first !== undefined) expect(first.text).toBe(fieldLines(sent.fields));
        }
        if (sections.length === 1 && steps.length > 1) expect(repeated).toBe(steps.length - 1);
      },
    ),
    { numRuns: 500 },
  );
});

const ANSWER_LINES = [
  'Content-Type: text/plain',
  'Connection: X-Own',
  'X-Own: 1',
  'Date: Thu, 26 Nov 2026 00:00:00 GMT',
  'Content-Length: 0',
  'Location: /elsewhere',
  'Set-Cookie: a=b; Path=/',
  'sidecar-load: forged',
  'Via: 1.1 behind',
];

test('a response that repeats the one before is sent on as it is without that, on either listener', () => {
  fc.assert(
    fc.property(
      fc.subarray(ANSWER_LINES),
      fc.array(fc.constantFrom('in', 'out'), { minLength: 1 }),
      (lines, names) => {
        const text = `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
        const bytes = Buffer.from(text, 'latin1');
        const last: LastResponse = new RepeatedSection();
        names.forEach((name, i) => {
          const result = parseResponseHead(bytes, 0, bytes.length, TEST_LIMITS, last);
          mustHold(result.kind === 'head');
          const { fields, repeated } = result.head;
          const response = {
            status: 200,
            reason: 'OK',
            version: '1.1',
            fields,
            bodyBytes: 0,
            repeated,
          } as const;
          const made = repeatedFields(response, name);
          expect(made === null).toBe(i === 0 || namesUrls(fields));
          if (made === null) return;
          expect(made.fields).toStrictEqual(responseHeaders(fields, '1.1', name));
          expect(made.text).toBe(fieldLines(made.fields));
        });
      },
    ),
  );
});
