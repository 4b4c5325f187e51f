/** Rules of slots under any text: none throws, and each names itself and nothing that is spelt otherwise. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { matchesAny, parseSlotRule } from '../../sidecar/core/worker/slot-rules.ts';

const method = fc.constantFrom('GET', 'POST', 'HEAD', 'M-SEARCH');
const segment = fc.stringMatching(/^[a-z0-9._~-]{1,8}$/).filter((text) => !/^\.\.?$/.test(text));
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join('/')}`);

describe('a rule of slots, from any text', () => {
  test('anything is taken or refused, and what is refused has no slash or method at its place', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string()), (text) => {
        const rule = parseSlotRule(text);
        if (rule === null) return;
        expect(rule.method !== null || rule.path !== null).toBe(true);
        expect(rule.path === null || rule.path.startsWith('/')).toBe(true);
      }),
    );
  });

  test('it names its own request with any query, and none of another method or path', () => {
    fc.assert(
      fc.property(method, path, method, path, fc.string(), (m, p, otherMethod, otherPath, query) => {
        const rule = parseSlotRule(`${m} ${p}`);
        if (rule === null) throw new Error('a rule');
        expect(matchesAny([rule], m, `${p}?${query}`)).toBe(true);
        expect(matchesAny([rule], otherMethod, otherPath)).toBe(otherMethod === m && otherPath === p);
      }),
    );
  });

  test('below a prefix whatever resolves inside it passes, and nothing that resolves outside', () => {
    const step = fc.oneof(segment, fc.constantFrom('..', '.', '%2e%2e', '%2E.', ''));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
        const rule = parseSlotRule('/files/*');
        if (rule === null) throw new Error('a rule');
        const target = `/files/${steps.join('/')}`;
        const resolved = new URL(target, 'http://a').pathname;
        if (matchesAny([rule], 'GET', target)) expect(resolved.startsWith('/files/')).toBe(true);
      }),
    );
  });

  test('any target is compared, however wild', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (m, target) => {
        const rules = [parseSlotRule('/a/*'), parseSlotRule('GET /b')].filter((rule) => rule !== null);
        expect(typeof matchesAny(rules, m, target)).toBe('boolean');
      }),
    );
  });
});
