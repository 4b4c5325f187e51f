/** Whatever an app sends: it is known by a right token alone, and no token of ours goes on to a worker. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { appTokens } from '../../sidecar/config/service-parsers.ts';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { encodeRequestHead } from '../../sidecar/core/http/http1-encode.ts';
import { type LastFields, parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import { isFieldValue } from '../../sidecar/core/http/http1-syntax.ts';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import { RepeatedSection } from '../../sidecar/core/http/repeated-section.ts';
import { AppTokens } from '../../sidecar/proxy/outbound/app-tokens.ts';
import { mustHold } from '../support/runner/expectations.ts';
import { TEST_LIMITS } from '../support/wire/whole-messages.ts';

const TOKENS = new Map([
  ['chat', 'token-of-chat'],
  ['notes', 'token-of-notes'],
]);
const ALL = ['secret', ...TOKENS.values()];

const token = fc.oneof(
  fc.constantFrom(...ALL, 'chat', 'Secret', 'secret ', 'token-of', '', '__proto__'),
  fc.string({ maxLength: 20 }),
);
const field = fc.oneof(
  fc.tuple(
    fc.constantFrom('Authorization', 'authorization', 'AUTHORIZATION'),
    fc
      .tuple(fc.constantFrom('Bearer ', 'bearer  ', 'Basic ', '', 'Bearer\t'), token)
      .map((parts) => parts.join('')),
  ),
  fc.tuple(fc.constantFrom('sidecar-token', 'Sidecar-Token'), token),
  fc.tuple(fc.constantFrom('X-A', 'Authorizatio', 'Proxy-Authorization'), token),
);

function headOf(fields: string[]): RequestHead {
  return {
    ...{ method: 'GET', target: '/', minor: 1, fields, framing: { kind: 'none' } },
    ...{ keepAlive: true, upgrade: null, expectContinue: false, host: 'a' },
  };
}

describe('the tokens of apps', () => {
  test('a right one and no other is taken, and no Authorization with one is left', () => {
    const tokens = new AppTokens('secret', TOKENS);
    fc.assert(
      fc.property(fc.array(field, { maxLength: 5 }), (pairs) => {
        const sent = pairs.flat();
        const head = headOf([...sent]);
        const app = tokens.admit(head);
        const bearers = all(sent, 'authorization').map(
          (value) => /^bearer +([^ ]+)$/i.exec(value)?.[1] ?? '',
        );
        const given = first(sent, 'sidecar-token') ?? bearers.find((each) => ALL.includes(each)) ?? '';
        expect(app !== null).toBe(ALL.includes(given));
        if (app !== null) expect(TOKENS.get(app.name ?? '') ?? 'secret').toBe(given);
        for (const value of all(head.fields, 'authorization'))
          expect(ALL).not.toContain(/^bearer +([^ ]+)$/i.exec(value)?.[1]);
        const others = (fields: string[]): string[] =>
          fields.filter((_, i) => !/^authorization$/i.test(fields[i - (i % 2)] as string));
        expect(others(head.fields)).toStrictEqual(others(sent));
      }),
    );
  });

  test('a request that repeats the fields of the one before is admitted as that was', () => {
    const tokens = new AppTokens('secret', TOKENS);
    const isClean = ([, value]: [string, string]): boolean => isFieldValue(value) && value.trim() === value;
    fc.assert(
      fc.property(fc.array(field.filter(isClean), { maxLength: 5 }), (pairs) => {
        const bytes = Buffer.from(encodeRequestHead('GET', '/', ['Host', 'a', ...pairs.flat()]), 'latin1');
        const last: LastFields = new RepeatedSection();
        const admitted = [1, 2, 3].map(() => {
          const result = parseRequestHead(bytes, 0, bytes.length, TEST_LIMITS, last);
          mustHold(result.kind === 'head');
          return { app: tokens.admit(result.head), fields: result.head.fields };
        });
        expect(admitted[1]).toStrictEqual(admitted[0]);
        expect(admitted[2]).toStrictEqual(admitted[0]);
      }),
    );
  });

  test('where none is wanted nothing is taken', () => {
    const tokens = new AppTokens(null, new Map());
    fc.assert(
      fc.property(fc.array(field, { maxLength: 5 }), (pairs) => {
        const head = headOf(pairs.flat());
        expect(tokens.admit(head)).toStrictEqual({ name: null });
        expect(head.fields).toStrictEqual(pairs.flat());
      }),
    );
  });

  test('any text is read, or refused without being repeated', () => {
    const piece = fc.oneof(
      fc.constantFrom('=', ',', '\n', 'app', 'HUNTER2', ' '),
      fc.string({ maxLength: 5 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const text = pieces.join('');
        try {
          for (const [name, value] of appTokens(text)) {
            expect(name).toMatch(/^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/);
            expect(typeof value).toBe('string');
          }
        } catch (error) {
          expect((error as Error).message).not.toMatch(/HUNTER2/);
          expect((error as Error).message.length).toBeLessThan(120);
        }
      }),
    );
  });
});
