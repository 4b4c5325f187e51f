/** The parsers of option values at their limits: what is just taken, and what no longer. */
import { describe, expect, test } from '@jest/globals';
import type { Parser } from '../../sidecar/config/option.ts';
import {
  byteSize,
  cidr,
  decimal,
  duration,
  hostPort,
  integer,
  list,
  pairs,
  subnetOf,
  text,
  url,
} from '../../sidecar/config/parsers.ts';
import {
  aliasMap,
  metricMap,
  perService,
  serviceMap,
  serviceName,
} from '../../sidecar/config/service-parsers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function refused(parse: Parser<unknown>, raw: unknown, why: RegExp): void {
  expectNamed(() => parse(raw), String(raw).slice(0, 80)).toThrow(why);
}

describe('a value between two limits', () => {
  test('a length of time: both limits are taken, what is beyond either is not', () => {
    const parse = duration('1s', '10m');
    expect([parse('1s'), parse('10m'), parse('600s')]).toStrictEqual([1_000, 600_000, 600_000]);
    for (const raw of ['999ms', '10m1s', '601s', '1d', '0']) refused(parse, raw, /not between 1s and 10m/);
    refused(parse, '60', /no unit; write 60s or 60ms/);
    expect(duration('0s', '10m')('0')).toBe(0);
  });

  test('an amount of data: both limits are taken, what is beyond either is not', () => {
    const parse = byteSize('1KiB', '1MiB');
    expect([parse('1KiB'), parse('1MiB')]).toStrictEqual([1_024, 1_048_576]);
    for (const raw of ['1023', '1048577', '0']) refused(parse, raw, /not between 1KiB and 1MiB/);
  });

  test('numbers: both limits are taken, what is beyond either is not', () => {
    expect([
      integer(1, 9)('1'),
      integer(1, 9)(9),
      decimal(0.5, 1)('0.5'),
      decimal(0.5, 1)('1'),
    ]).toStrictEqual([1, 9, 0.5, 1]);
    for (const raw of ['0', '10', '1.5', '-1', '1e0', ''])
      refused(integer(1, 9), raw, /whole number from 1 to 9/);
    for (const raw of ['0.49', '1.01', '-1', '1e0', '.5'])
      refused(decimal(0.5, 1), raw, /number from 0.5 to 1/);
  });

  test('text: as long as it may be, without control characters', () => {
    const parse = text('the name', 5);
    expect(parse(' abcde ')).toBe('abcde');
    refused(parse, 'abcdef', /longer than 5/);
    refused(parse, 'a\u007fb', /control/);
    refused(parse, '  ', /empty/);
    refused(parse, 7, /put it in quotes/);
  });

  test('a list has 1000 entries at most, as text and as a list', () => {
    const names = Array.from({ length: 1_001 }, (_, n) => `s${n}`);
    for (const form of [(items: string[]): unknown => items, (items: string[]): unknown => items.join(',')]) {
      expect(list(serviceName)(form(names.slice(1)))).toHaveLength(1_000);
      refused(list(serviceName), form(names), /more than 1000 entries/);
    }
    expect(list(serviceName)(' a, ,b,')).toStrictEqual(['a', 'b']);
    refused(list(serviceName), 7, /expected a list/);
  });
});

describe('a URL', () => {
  test('neither a user nor a password may be in it, and the error repeats neither', () => {
    for (const raw of ['https://user@h/', 'https://user:secret@h/', 'https://:secret@h/']) {
      refused(url(['https']), raw, /^the URL must not hold a user or password$/);
    }
    expect(url(['https'])('https://h/').href).toBe('https://h/');
  });

  test('only its own schemes, with a host, and no query or fragment', () => {
    for (const raw of ['http://h/', 'ftp://h/', 'https:h', 'https:///h', 'h']) {
      refused(url(['https']), raw, /not a URL that starts with https:\/\/$/);
    }
    for (const raw of ['https://h/?', 'https://h/#', 'https://h?a'])
      refused(url(['https']), raw, /no \? and no #/);
    expect(url(['http', 'https'])('http://h:1/a').pathname).toBe('/a');
  });
});

describe('a mapping', () => {
  test('a service that is there twice has two URLs in text, and is a mistake in a file', () => {
    expect(serviceMap('a=http://x,b=http://y,a=http://z')).toStrictEqual(
      new Map<string, unknown>([
        ['a', ['http://x', 'http://z']],
        ['b', 'http://y'],
      ]),
    );
    // Keys of a file that differ there, and not as text.
    const keys = new Map<unknown, unknown>([
      ['1', 'http://x'],
      [1, 'http://y'],
    ]);
    refused(serviceMap, keys, /"1" is there twice/);
    expect([...serviceMap('a=http://x,b=http://y').keys()]).toStrictEqual(['a', 'b']);
  });

  test('an alias of two services is a mistake; the same said twice is none', () => {
    refused(aliasMap, 'x=a,y=b,x=b', /the alias x is there twice/);
    expect([...aliasMap('x=a,y=b,x=a')]).toStrictEqual([
      ['x', 'a'],
      ['y', 'b'],
    ]);
  });

  test('there are 1000 services, 1000 aliases and 32 metrics at most', () => {
    const many = (count: number, value: string): string =>
      Array.from({ length: count }, (_, n) => `n${n}=${value}`).join(',');
    for (const [parse, most, value, why] of [
      [serviceMap, 1_000, 'http://x', /more than 1000 services/],
      [aliasMap, 1_000, 'a', /more than 1000 aliases/],
      [metricMap, 32, '1', /more than 32 metrics/],
    ] as const) {
      expect(parse(many(most, value)).size).toBe(most);
      refused(parse, many(most + 1, value), why);
    }
  });

  test('pairs: the first = parts them, empty ones are left out, and one without a name is a mistake', () => {
    expect(pairs(' a = 1 ,, b=c=d,', 'a=1')).toStrictEqual([
      ['a', '1'],
      ['b', 'c=d'],
    ]);
    for (const raw of ['=1', 'a']) expect(() => pairs(raw, 'a=1')).toThrow(/not of the form a=1/);
    expect(() => pairs(7, 'a=1')).toThrow(/expected a mapping/);
  });

  test('one value for all services, or one for each', () => {
    expect(perService(integer(1, 9))('4')).toStrictEqual({ kind: 'all', value: 4 });
    expect(perService(integer(1, 9))('a=4,b=5')).toStrictEqual({
      kind: 'each',
      values: new Map([
        ['a', 4],
        ['b', 5],
      ]),
    });
    refused(perService(integer(1, 9)), 'A=4', /not a service name/);
    refused(perService(integer(1, 9)), 'a=10', /whole number/);
  });

  test('the limit of a metric is a number above 0', () => {
    expect([...metricMap('a=0.5,b:c=1000000000000')]).toStrictEqual([
      ['a', 0.5],
      ['b:c', 1e12],
    ]);
    refused(metricMap, 'a=0', /limit of a is 0/);
    refused(metricMap, 'a=1000000000001', /number from 0/);
    refused(metricMap, '', /no metric/);
  });
});

describe('an address or network', () => {
  test('a port alone gets the host that goes without saying', () => {
    expect(hostPort('10.0.0.1')('8000')).toStrictEqual({ host: '10.0.0.1', port: 8_000 });
    expect(hostPort('10.0.0.1')(8_000)).toStrictEqual({ host: '10.0.0.1', port: 8_000 });
    expect(hostPort('10.0.0.1')('[::1]:1')).toStrictEqual({ host: '::1', port: 1 });
    refused(hostPort(''), 'h', /not host:port/);
  });

  test('a network has a prefix that fits its addresses, and its members are told by it', () => {
    expect(cidr(' 10.42.0.0/16 ')).toBe('10.42.0.0/16');
    for (const raw of [
      '10.42.0.0/33',
      '10.42.0.0',
      '10.42.0/16',
      'fd00::/129',
      'fd00::%eth0/8',
      '10.42.0.0/-1',
      '10.42.0.0/016',
    ]) {
      refused(cidr, raw, /not a network/);
    }
    const isIn = subnetOf('10.42.0.0/16');
    expect(['10.42.255.255', '10.43.0.0', '::ffff:10.42.0.1', 'x'].map((ip) => isIn?.(ip))).toStrictEqual([
      true,
      false,
      false,
      false,
    ]);
    const isIn6 = subnetOf('fd42::/16');
    expect(['fd42:1::9', 'fd43::1', '10.42.0.1', 'x'].map((ip) => isIn6?.(ip))).toStrictEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(subnetOf('0.0.0.0/0')?.('255.1.1.1')).toBe(true);
    expect(subnetOf('10.0.0.1/32')?.('10.0.0.2')).toBe(false);
  });
});
