/** The field by which one sidecar refuses another: what was told comes out, and nothing else ever does. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  encodeRefusal,
  MAX_UNDER_WAY_MS,
  parseRefusal,
  UNDER_WAY_HEADER,
  underWayMs,
} from '../../sidecar/proxy/peer/refusal.ts';

test('code, stage and words come out as they went in', () => {
  const refusal = { code: 'connect_failed', stage: 'not_sent', detail: 'refused; by 127.0.0.1:9' } as const;
  assert.deepEqual(parseRefusal(encodeRefusal(refusal)), refusal);
});

test('an older sidecar tells no words', () => {
  assert.deepEqual(parseRefusal('saturated;not_sent'), {
    code: 'saturated',
    stage: 'not_sent',
    detail: '',
  });
});

test('the words cannot break the field or speak to a terminal, whoever wrote them', () => {
  const hostile = 'a\r\nSet-Cookie: x\u001b[2J\u202e';
  const field = encodeRefusal({ code: 'warming', stage: 'sent', detail: hostile.repeat(100) });
  assert.match(field, /^[\x20-\x7e]{1,280}$/);
  assert.match(parseRefusal(`warming;sent;${hostile}`)?.detail ?? '', /^[\x20-\x7e]+$/);
});

test('what is no refusal is none; an unknown stage is the worse one', () => {
  for (const value of ['', 'nonsense;sent', ';;;', '__proto__;sent']) assert.equal(parseRefusal(value), null);
  assert.equal(parseRefusal('draining;begun')?.stage, 'sent');
});

test('how long a request is under way is bounded, and what is no number is nothing', () => {
  const said = (value: string) => underWayMs(['Host', 'a', UNDER_WAY_HEADER, value]);
  assert.deepEqual([said('0'), said('1'), said('59000')], [0, 1, 59_000]);
  assert.deepEqual([said(String(MAX_UNDER_WAY_MS)), said('999999')], [MAX_UNDER_WAY_MS, MAX_UNDER_WAY_MS]);
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
    assert.equal(said(value), 0, value);
  }
  assert.equal(underWayMs([]), 0);
  assert.equal(underWayMs(['Sidecar-Under-Way-Ms', '7']), 7, 'field names have no case');
  assert.equal(underWayMs([UNDER_WAY_HEADER, '7', UNDER_WAY_HEADER, '8']), 7, 'said twice: once');
});
