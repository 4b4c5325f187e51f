/** Requirements: no text throws, and the operators are what they say for any capability. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  meets,
  parseRequirements,
  type Requirement,
  unmetText,
} from '../../sidecar/core/peers/requirements.ts';

const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/);
const value = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.integer(),
  fc.boolean(),
  fc.constantFrom('true', '24', '-0', 'RTX 4090'),
);
const capabilities = fc.dictionary(name, value, { noNullPrototype: true });
const plain = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9 ]{0,6}[a-zA-Z0-9]$/);

function parsed(text: string): readonly Requirement[] {
  const found = parseRequirements(text);
  if ('fault' in found) throw new Error(`${text}: ${found.fault}`);
  return found;
}

describe('any requirement', () => {
  test('a text is terms or a fault, and never throws', () => {
    const pieces = fc.array(
      fc.constantFrom('a', '=', '!=', '>=', '<=', ',', '|', ' ', '1', '.', '"', '\u0000'),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          pieces.map((parts) => parts.join('')),
        ),
        capabilities,
        (text, has) => {
          const found = parseRequirements(text);
          if ('fault' in found) expect(found.fault).not.toBe('');
          else for (const requirement of found) meets(has, requirement);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('what is read is what is shown, and is read again as the same', () => {
    const term = fc
      .tuple(name, fc.constantFrom('=', '!='), fc.array(plain, { minLength: 1, maxLength: 3 }))
      .map(([key, operator, values]) => `${key}${operator}${values.join('|')}`);
    fc.assert(
      fc.property(fc.array(term, { minLength: 1, maxLength: 8 }), (terms) => {
        const found = parsed(terms.join(', '));
        expect(found.map(({ text }) => text)).toStrictEqual(terms);
        expect(parsed(found.map(({ text }) => text).join(','))).toStrictEqual(found);
      }),
    );
  });

  test('unequal is the opposite of equal, and one of two numbers is at least the other', () => {
    fc.assert(
      fc.property(name, plain, capabilities, (key, wanted, has) => {
        const [equal, unequal] = parsed(`${key}=${wanted},${key}!=${wanted}`) as [Requirement, Requirement];
        expect(meets(has, equal)).toBe(!meets(has, unequal));
        expect(unmetText(has, [equal]) === '').toBe(meets(has, equal));
      }),
    );
    const number = fc.integer({ min: -1e9, max: 1e9 });
    fc.assert(
      fc.property(number, number, (a, b) => {
        const [least, most] = parsed(`n>=${b},n<=${b}`) as [Requirement, Requirement];
        expect(meets({ n: a }, least)).toBe(a >= b);
        expect(meets({ n: a }, most)).toBe(a <= b);
      }),
    );
  });
});
