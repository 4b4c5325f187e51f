import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { endToEnd, endToEndTrailers } from '../../sidecar/core/forwarding/end-to-end.ts';
import { ForwardedChain } from '../../sidecar/core/forwarding/forwarded.ts';
import { serviceAddress } from '../../sidecar/core/forwarding/service-address.ts';
import { viaContains } from '../../sidecar/core/forwarding/via.ts';
import { withHost } from '../../sidecar/core/http/headers.ts';
import { encodeRequestHead, encodeResponseHead } from '../../sidecar/core/http/http1-encode.ts';
import {
  type LastFields,
  type ParseResult,
  parseRequestHead,
} from '../../sidecar/core/http/http1-request-head.ts';
import { type LastResponse, parseResponseHead } from '../../sidecar/core/http/http1-response-head.ts';
import { isFieldValue } from '../../sidecar/core/http/http1-syntax.ts';
import type { HeadLimits } from '../../sidecar/core/http/message.ts';
import { RepeatedSection } from '../../sidecar/core/http/repeated-section.ts';
import { anyBytes, plainFields, twistedAnswer, twistedRequest } from '../support/generators/http-bytes.ts';
import { mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

type Parse = (b: Buffer, start: number, end: number, limits: HeadLimits) => ParseResult<unknown>;

const requestBytes = fc.oneof(twistedRequest, anyBytes);
const answerBytes = fc.oneof(twistedAnswer, anyBytes);

/** So small that the twists run into every limit. */
const TIGHT: HeadLimits = { maxHeadBytes: 60, maxFields: 2, maxTargetBytes: 6 };
const limits = fc.constantFrom(TEST_LIMITS, TIGHT);

/** The first verdict when the bytes come one at a time. */
function drip(parse: Parse, bytes: Buffer, withLimits: HeadLimits): ParseResult<unknown> {
  for (let end = 0; end <= bytes.length; end++) {
    const result = parse(bytes, 0, end, withLimits);
    if (result.kind !== 'incomplete') return result;
  }
  return { kind: 'incomplete' };
}

/** The first line of one with the rest of another; maybe with an octet changed. */
function mixed(a: Buffer, b: Buffer, change: { at: number; octet: number } | null): Buffer {
  const bytes = Buffer.concat([a.subarray(0, a.indexOf('\n') + 1), b.subarray(b.indexOf('\n') + 1)]);
  if (change !== null && bytes.length > 0) bytes[change.at % bytes.length] = change.octet;
  return bytes;
}

function withoutRepeated<T extends { repeated?: unknown }>({ ...head }: T): T {
  delete head.repeated;
  return head;
}

describe('any bytes as an HTTP/1.1 head', () => {
  test('a request head is judged the same byte by byte and at once', () => {
    fc.assert(
      fc.property(requestBytes, limits, (bytes, l) => {
        expect(drip(parseRequestHead, bytes, l)).toStrictEqual(parseRequestHead(bytes, 0, bytes.length, l));
      }),
      { numRuns: 1000 },
    );
  });

  test('a response head is judged the same byte by byte and at once', () => {
    fc.assert(
      fc.property(answerBytes, limits, (bytes, l) => {
        expect(drip(parseResponseHead, bytes, l)).toStrictEqual(parseResponseHead(bytes, 0, bytes.length, l));
      }),
      { numRuns: 1000 },
    );
  });

  test('what came before on the connection changes no verdict', () => {
    const change = fc.record({ at: fc.nat(), octet: fc.integer({ min: 0, max: 255 }) });
    const heads = (one: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer[]> =>
      fc
        .tuple(
          fc.array(one, { minLength: 1, maxLength: 3 }),
          fc.array(fc.tuple(fc.nat(), fc.nat(), fc.option(change))),
        )
        .map(([some, picks]) =>
          picks.map(([i, j, changed]) => mixed(some[i % some.length]!, some[j % some.length]!, changed)),
        );
    fc.assert(
      fc.property(heads(requestBytes), heads(answerBytes), limits, (requests, answers, l) => {
        const lastFields: LastFields = new RepeatedSection();
        for (const bytes of requests) {
          const result = parseRequestHead(bytes, 0, bytes.length, l, lastFields);
          if (result.kind === 'head') result.head = withoutRepeated(result.head);
          expect(result).toStrictEqual(parseRequestHead(bytes, 0, bytes.length, l));
        }
        const lastResponse: LastResponse = new RepeatedSection();
        for (const bytes of answers) {
          const result = parseResponseHead(bytes, 0, bytes.length, l, lastResponse);
          if (result.kind === 'head') result.head = withoutRepeated(result.head);
          expect(result).toStrictEqual(parseResponseHead(bytes, 0, bytes.length, l));
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('bytes outside of the range given change nothing', () => {
    fc.assert(
      fc.property(requestBytes, anyBytes, anyBytes, (bytes, before, after) => {
        const whole = Buffer.concat([before, bytes, after]);
        const alone = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
        const within = parseRequestHead(whole, before.length, before.length + bytes.length, TEST_LIMITS);
        if (within.kind === 'head') within.end -= before.length;
        expect(within).toStrictEqual(alone);
      }),
    );
  });

  test('incomplete is never the answer to as many bytes as a head may have', () => {
    fc.assert(
      fc.property(
        requestBytes,
        answerBytes,
        fc.integer({ min: 1, max: 200 }),
        (request, answer, maxHeadBytes) => {
          const l = { ...TEST_LIMITS, maxHeadBytes };
          if (request.length >= maxHeadBytes) {
            expect(parseRequestHead(request, 0, request.length, l).kind).not.toBe('incomplete');
          }
          if (answer.length >= maxHeadBytes) {
            expect(parseResponseHead(answer, 0, answer.length, l).kind).not.toBe('incomplete');
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('what is encoded is parsed to the same, requests', () => {
    const method = fc.constantFrom('GET', 'POST', 'M-SEARCH', "!#$%&'*+-.^_`|~");
    const target = fc
      .string({ unit: fc.constantFrom(...'/a%2F;?=&.~{}|"\\[]'), maxLength: 30 })
      .map((text) => `/${text}`);
    fc.assert(
      fc.property(method, target, plainFields, (verb, path, rest) => {
        const fields = ['Host', 'a', ...rest];
        const bytes = Buffer.from(encodeRequestHead(verb, path, fields), 'latin1');
        const result = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
        mustHold(result.kind === 'head');
        expect([result.head.method, result.head.target, result.head.fields, result.end]).toStrictEqual([
          verb,
          path,
          fields,
          bytes.length,
        ]);
      }),
      { numRuns: 500 },
    );
  });

  test('what is encoded is parsed to the same, responses', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 999 }),
        fc.constantFrom('', 'OK', 'a \xe9\tb'),
        plainFields,
        (status, reason, fields) => {
          const bytes = Buffer.from(encodeResponseHead(status, reason, fields), 'latin1');
          const result = parseResponseHead(bytes, 0, bytes.length, TEST_LIMITS);
          mustHold(result.kind === 'head');
          const { head, end } = result;
          expect([head.status, head.reason, head.fields, end]).toStrictEqual([
            status,
            reason,
            fields,
            bytes.length,
          ]);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('whatever is accepted can be rewritten and sent on as a valid head', () => {
    const aliases = new Map([['a', 'b']]);
    fc.assert(
      fc.property(requestBytes, fc.boolean(), (bytes, trusted) => {
        const result = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
        if (result.kind !== 'head') return;
        const { head } = result;
        const address = serviceAddress(head, aliases);
        if (!('error' in address)) expect(address.target).toMatch(/^(?:\/|\*$)/);
        viaContains(head.fields, 'a');
        endToEndTrailers(head.fields, head.fields);
        const facts = { clientIp: '::1', proto: 'http', host: head.host, by: 'me', trusted } as const;
        const chain = new ForwardedChain();
        const fields = withHost(
          endToEnd(head.fields, (name, value) => chain.take(name, value)),
          head.host,
        );
        chain.pushTo(fields, facts);
        expect(fields.every(isFieldValue)).toBe(true);
        const sent = Buffer.from(encodeRequestHead(head.method, head.target, fields), 'latin1');
        const again = parseRequestHead(sent, 0, sent.length, { ...TEST_LIMITS, maxHeadBytes: 65_536 });
        mustHold(again.kind === 'head' && again.end === sent.length, JSON.stringify(again));
      }),
      { numRuns: 1000 },
    );
  });

  test('an accepted head holds no control character, whatever came', () => {
    fc.assert(
      fc.property(requestBytes, (bytes) => {
        const result = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS);
        if (result.kind !== 'head') return;
        expect([result.head.method, result.head.target, ...result.head.fields].every(isFieldValue)).toBe(
          true,
        );
      }),
      { numRuns: 1000 },
    );
  });
});
