/** Session carriers: no fields throw, what was given is found when it comes back, and words are read as they are written. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { RawFields } from '../../sidecar/core/http/message.ts';
import {
  carriersText,
  parseCarriers,
  type SessionCarrier,
  type SessionCarriers,
  sessionCarrier,
  sessionIdsEnded,
  sessionIdsGiven,
  sessionIdsIn,
} from '../../sidecar/core/http/session-carrier.ts';

const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_.-]{0,12}$/);
/** What a cookie may hold (RFC 6265 §4.1.1), without the quotes that may stand around it. */
const id = fc.stringMatching(/^[!#-+\--:<-[\]-~]{1,40}$/);
const anyText = fc.string({ unit: 'binary', maxLength: 60 });
const carrier: fc.Arbitrary<SessionCarrier> = fc
  .tuple(fc.constantFrom('header', 'cookie'), token)
  .map(([kind, name]) => sessionCarrier(kind, name))
  .filter((found) => found !== null);
const carriers: fc.Arbitrary<SessionCarriers> = fc.uniqueArray(carrier, {
  maxLength: 4,
  selector: ({ kind, name }) => `${kind}=${name}`,
});
const fields: fc.Arbitrary<RawFields> = fc
  .array(fc.tuple(fc.oneof(token, fc.constantFrom('Cookie', 'set-cookie', 'Mcp-Session-Id')), anyText))
  .map((pairs) => pairs.flat());

describe('session carriers', () => {
  test('any fields of any message are read within bounds, and nothing throws', () => {
    fc.assert(
      fc.property(
        fields,
        carriers,
        fc.integer({ min: 100, max: 999 }),
        token,
        (some, which, status, method) => {
          const asked = { method, fields: some };
          const answered = { status, fields: some };
          for (const ids of [
            sessionIdsIn(some, which),
            sessionIdsGiven(answered, which),
            sessionIdsEnded(asked, answered, which),
          ]) {
            expect(ids.length).toBeLessThanOrEqual(8);
            expect(new Set(ids).size).toBe(ids.length);
            expect(ids).not.toContain('');
          }
        },
      ),
    );
  });

  test('what a worker gives by a cookie or a field is found in the request that brings it back', () => {
    fc.assert(
      fc.property(carrier, id, id, token, ({ kind, name }, given, other, otherName) => {
        fc.pre(otherName !== name);
        const which = [{ kind, name }];
        const answer: RawFields =
          kind === 'header'
            ? [name.toUpperCase(), given]
            : [
                'Set-Cookie',
                `${otherName}=${other}; Path=/`,
                'set-cookie',
                `${name}=${given}; HttpOnly; Max-Age=60`,
              ];
        const request: RawFields =
          kind === 'header'
            ? [name, given]
            : ['cookie', `${otherName}=${other}; ${name}=${given}`, 'cookie', `${otherName}=${other}`];
        expect(sessionIdsGiven({ status: 200, fields: answer }, which)).toStrictEqual([given]);
        expect(sessionIdsIn(request, which)).toStrictEqual([given]);
      }),
    );
  });

  test.each(['Max-Age=0', 'max-age = 0', 'Max-Age=-1', 'Path=/; Max-Age=00; HttpOnly'])(
    'a cookie that is taken away (%s) gives no session',
    (attributes) => {
      const answer = { status: 200, fields: ['Set-Cookie', `sid=deleted; ${attributes}`] };
      expect(sessionIdsGiven(answer, [{ kind: 'cookie', name: 'sid' }])).toStrictEqual([]);
    },
  );

  test('the word for them is read back as what it was made of', () => {
    fc.assert(
      fc.property(carriers, (which) => {
        expect(parseCarriers(carriersText(which))).toStrictEqual(which);
      }),
    );
  });

  test('any other word is refused or read, and never throws; what ends at each hop carries nothing', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.stringMatching(/^(?:header|cookie|,|=|[a-z]){0,12}$/)), (text) => {
        const which = parseCarriers(text);
        if (which !== null) expect(parseCarriers(carriersText(which))).toStrictEqual(which);
      }),
    );
    for (const name of [
      'Cookie',
      'set-cookie',
      'Connection',
      'host',
      'sidecar-worker',
      'a b',
      '',
      'x'.repeat(65),
    ])
      expect(parseCarriers(`header=${name}`)).toBe(null);
    expect(parseCarriers('header=a,header=b,header=c,cookie=d,cookie=e')).toBe(null);
  });
});
