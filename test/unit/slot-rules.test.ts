/** Which requests a rule of slots names, and that nothing else passes as one of them. */
import { describe, expect, test } from '@jest/globals';
import { matchesAny, parseSlotRule, type SlotRule } from '../../sidecar/core/worker/slot-rules.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

function rule(text: string): SlotRule {
  const parsed = parseSlotRule(text);
  mustHold(parsed !== null, text);
  return parsed;
}

describe('a rule of slots', () => {
  for (const [text, method, path, isPrefix] of [
    ['/interrupt', null, '/interrupt', false],
    ['GET', 'GET', null, false],
    ['GET /models', 'GET', '/models', false],
    [' POST   /a/b ', 'POST', '/a/b', false],
    ['/files/*', null, '/files/', true],
    ['/*', null, '/', true],
    ['VERSION-CONTROL', 'VERSION-CONTROL', null, false],
    ['/grpc.health.v1.Health/Check', null, '/grpc.health.v1.Health/Check', false],
  ] as const) {
    test(`${JSON.stringify(text)} is taken`, () => {
      expect(parseSlotRule(text)).toStrictEqual({ method, path, isPrefix });
    });
  }

  for (const text of [
    '',
    ' ',
    'interrupt',
    'get /models',
    'get',
    'GET models',
    'GET a/models',
    'GET /a /b',
    '/a?b=1',
    '/a#b',
    '/a*b',
    '/a**',
    '*',
    'GET *',
    '/a b c',
    '/ä',
    '/a\u0000',
    '/a\tb',
    'GET\n/a',
    `/${'x'.repeat(2_000)}`,
    'X'.repeat(65),
  ]) {
    test(`${JSON.stringify(text.slice(0, 20))} is none`, () => {
      expect(parseSlotRule(text)).toBe(null);
    });
  }

  test('a path is that below the service, byte for byte, whatever the query', () => {
    const rules = [rule('/interrupt'), rule('GET /models')];
    for (const target of ['/interrupt', '/interrupt?', '/interrupt?x=/generate'])
      expectNamed(matchesAny(rules, 'POST', target), target).toBe(true);
    for (const target of [
      '/interrupt/',
      '/Interrupt',
      '/%69nterrupt',
      '//interrupt',
      '/a/../interrupt',
      '/interrupt;x',
      '/interrupted',
      '*',
      '',
    ])
      expectNamed(matchesAny(rules, 'POST', target), target).toBe(false);
    expect(matchesAny(rules, 'GET', '/models')).toBe(true);
    expect(matchesAny(rules, 'HEAD', '/models')).toBe(false);
    expect(matchesAny(rules, 'get', '/models')).toBe(false);
  });

  test('a method alone is every path', () => {
    expect(matchesAny([rule('OPTIONS')], 'OPTIONS', '*')).toBe(true);
    expect(matchesAny([rule('OPTIONS')], 'POST', '/')).toBe(false);
  });

  test('no path that leads out of it passes as one below it', () => {
    const rules = [rule('/files/*')];
    for (const target of ['/files/', '/files/a/b.c', '/files/.hidden', '/files/a..b', '/files/a?x=/../b'])
      expectNamed(matchesAny(rules, 'GET', target), target).toBe(true);
    for (const target of [
      '/files',
      '/files/../generate',
      '/files/..',
      '/files/./../generate',
      '/files/%2e%2e/generate',
      '/files/%2E./generate',
      '/files/a%2f..%2fgenerate',
      '/files/a%2F%2e%2E%2Fgenerate',
      '/files/..\\generate',
      '/files/..%5cgenerate',
      '/files/..;/generate',
    ])
      expectNamed(matchesAny(rules, 'GET', target), target).toBe(false);
  });
});
