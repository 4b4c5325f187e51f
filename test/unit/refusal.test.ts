/** The field by which one sidecar refuses another: what was told comes out, and nothing else ever does. */
import { describe, expect, test } from '@jest/globals';
import {
  encodeRefusal,
  MAX_UNDER_WAY_MS,
  parseRefusal,
  UNDER_WAY_HEADER,
  underWayMs,
} from '../../sidecar/proxy/peer/refusal.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('the refusal of a sidecar', () => {
  test('code, stage and words come out as they went in', () => {
    const refusal = { code: 'connect_failed', stage: 'not_sent', detail: 'refused; by 127.0.0.1:9' } as const;
    expect(parseRefusal(encodeRefusal(refusal))).toStrictEqual(refusal);
  });

  test('an older sidecar tells no words', () => {
    expect(parseRefusal('saturated;not_sent')).toStrictEqual({
      code: 'saturated',
      stage: 'not_sent',
      detail: '',
    });
  });

  test('the words cannot break the field or speak to a terminal, whoever wrote them', () => {
    const hostile = 'a\r\nSet-Cookie: x\u001b[2J\u202e';
    const field = encodeRefusal({ code: 'warming', stage: 'sent', detail: hostile.repeat(100) });
    expect(field).toMatch(/^[\x20-\x7e]{1,280}$/);
    expect(parseRefusal(`warming;sent;${hostile}`)?.detail ?? '').toMatch(/^[\x20-\x7e]+$/);
  });

  test('blanks around the words are none of them, also where they are cut', () => {
    const field = (detail: string) => encodeRefusal({ code: 'warming', stage: 'sent', detail });
    expect(field(' it loads ')).toBe('warming;sent;it loads');
    expect(field(`${'a '.repeat(200)}`)).toMatch(/ a$/);
    expect(parseRefusal('warming;sent; it loads ')?.detail).toBe('it loads');
  });

  test('what is no refusal is none; an unknown stage is the worse one', () => {
    for (const value of ['', 'nonsense;sent', ';;;', '__proto__;sent'])
      expect(parseRefusal(value)).toBe(null);
    expect(parseRefusal('draining;begun')?.stage).toBe('sent');
  });

  test('how long a request is under way is bounded, and what is no number is nothing', () => {
    const said = (value: string) => underWayMs(['Host', 'a', UNDER_WAY_HEADER, value]);
    expect([said('0'), said('1'), said('59000')]).toStrictEqual([0, 1, 59_000]);
    expect([said(String(MAX_UNDER_WAY_MS)), said('999999')]).toStrictEqual([
      MAX_UNDER_WAY_MS,
      MAX_UNDER_WAY_MS,
    ]);
    for (const value of [
      '',
      '-1',
      '+1',
      '1.5',
      '1e3',
      '0x10',
      ' ',
      '1 2',
      '1,2',
      'NaN',
      'Infinity',
      '9999999',
    ]) {
      expectNamed(said(value), value).toBe(0);
    }
    expect(underWayMs([])).toBe(0);
    expectNamed(underWayMs(['Sidecar-Under-Way-Ms', '7']), 'field names have no case').toBe(7);
    expectNamed(underWayMs([UNDER_WAY_HEADER, '7', UNDER_WAY_HEADER, '8']), 'said twice: once').toBe(7);
  });
});
