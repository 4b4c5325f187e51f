/** The text under the MAC of a message: no two messages have the same, and any change shows. */
import { describe, expect, test } from '@jest/globals';
import { hasMac, macOf, requestText, responseText } from '../../sidecar/mesh/membership/message-mac.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const TIME = '1767225600000';
const NONCE = 'AAAAAAAABBBBBBBB';
const TAG = 'C'.repeat(24);
const KEY = Buffer.alloc(32, 7);
const OTHER_KEY = Buffer.alloc(32, 8);

const textOf = (method: string, service: string, target: string): string =>
  requestText(TIME, NONCE, TAG, { method, service, target });

describe('the text under a MAC', () => {
  const slides: readonly (readonly [string, string, string])[] = [
    ['method and service', textOf('M', 'abcdefghijkl', '/x'), textOf('M1', 'ab', 'cdefghijkl/x')],
    ['service and target', textOf('GET', 'llm', '-v2/x'), textOf('GET', 'llm-v2', '/x')],
    ['method and target', textOf('GET', '', 'a'), textOf('GETa', '', '')],
    ['a method that ends like a service', textOf('M', '', '0:'), textOf('M:0', '', '')],
    ['no service and one that looks like its length', textOf('G', '', '3:llm'), textOf('G', 'llm', '')],
  ];
  for (const [name, one, other] of slides) {
    test(`${name} do not slide into each other`, () => expect(one).not.toBe(other));
  }

  test('each part of a request and of a response is under it', () => {
    const parts = { method: 'GET', service: 'llm', target: '/x' };
    const texts = [
      requestText(TIME, NONCE, TAG, parts),
      requestText(TIME.replace('7', '8'), NONCE, TAG, parts),
      requestText(TIME, NONCE.replace('A', 'D'), TAG, parts),
      requestText(TIME, NONCE, TAG.replace('C', 'D'), parts),
      requestText(TIME, NONCE, TAG, { ...parts, method: 'PUT' }),
      requestText(TIME, NONCE, TAG, { ...parts, service: 'ocr' }),
      requestText(TIME, NONCE, TAG, { ...parts, target: '/y' }),
      responseText(NONCE, TIME, 200),
      responseText(NONCE.replace('A', 'D'), TIME, 200),
      responseText(NONCE, TIME.replace('7', '8'), 200),
      responseText(NONCE, TIME, 503),
    ];
    expect(new Set(texts).size).toBe(texts.length);
  });
});

describe('a MAC', () => {
  test('fits its own text and key alone, whatever the length of the text', () => {
    // Around what fits the buffer that is kept, in units that take one byte and three.
    for (const length of [0, 1, 2_730, 2_731, 8_191, 8_192, 8_193, 100_000]) {
      for (const unit of ['a', '\u20ac']) {
        const text = unit.repeat(length);
        const mac = macOf(text, KEY);
        expectNamed(hasMac(text, KEY, mac), `${length} times ${unit}`).toBe(true);
        expectNamed(hasMac(`${text}b`, KEY, mac), `${length} times ${unit}, longer`).toBe(false);
        expectNamed(hasMac(text, OTHER_KEY, mac), `${length} times ${unit}, other key`).toBe(false);
      }
    }
  });

  test('one character more, less or changed, or of the same last byte, is another', () => {
    const mac = macOf('text', KEY);
    for (const other of [mac.slice(1), mac.slice(0, -1), `${mac}A`, `A${mac}`, '', ` ${mac.slice(1)}`]) {
      expectNamed(hasMac('text', KEY, other), other).toBe(false);
    }
    for (let i = 0; i < mac.length; i += 1) {
      const wide = String.fromCharCode(mac.charCodeAt(i) + 0x100);
      for (const char of [mac[i] === 'A' ? 'B' : 'A', wide]) {
        expect(hasMac('text', KEY, mac.slice(0, i) + char + mac.slice(i + 1))).toBe(false);
      }
    }
  });
});
