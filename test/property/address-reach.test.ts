/** How far addresses reach: whatever way an IPv4 address is written in an IPv6 one, it reaches as far as by itself. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { networkOf, reachOf } from '../../sidecar/config/address-reach.ts';

const hexOf = (ip: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = ip.split('.').map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
};

const narrow = fc.oneof(
  fc.ipV4(),
  fc
    .tuple(fc.constantFrom('127', '10', '169.254', '192.168', '172.16', '100.64', '0', '224'), fc.ipV4())
    .map(([start, ip]) => [...start.split('.'), ...ip.split('.')].slice(0, 4).join('.')),
);

describe('the reach of an address', () => {
  test('is that of the IPv4 address inside it: mapped, compatible, NAT64, 6to4, in hex or dotted', () => {
    fc.assert(
      fc.property(narrow, (ip) => {
        const reach = reachOf(ip);
        expect(reach).not.toBeNull();
        const forms = [
          `::ffff:${ip}`,
          `::ffff:${hexOf(ip)}`,
          `64:ff9b::${ip}`,
          `2002:${hexOf(ip)}::1`,
          `::${hexOf(ip)}`,
        ];
        for (const form of forms) expect([form, reachOf(form)]).toStrictEqual([form, reach]);
      }),
    );
  });

  test('of well-known addresses', () => {
    const known = {
      public: ['1.1.1.1', '172.32.0.1', '100.128.0.1', '2606:4700::1111', '64:ff9b::1.1.1.1'],
      loopback: ['127.0.0.1', '127.255.255.255', '::1', '0.0.0.0', '::', '::ffff:7f00:1'],
      'link-local': ['169.254.169.254', 'fe80::1', 'fe80::1%eth0', 'febf::1'],
      private: [
        '10.0.0.1',
        '172.31.255.255',
        '192.168.1.1',
        '100.64.0.1',
        'fd12::1',
        '255.255.255.255',
        'ff02::1',
      ],
    };
    for (const [reach, addresses] of Object.entries(known))
      for (const address of addresses) expect([address, reachOf(address)]).toStrictEqual([address, reach]);
  });

  test('of what is no address is none, and no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const reach = reachOf(text);
        expect(reach === null || typeof reach === 'string').toBe(true);
        networkOf(text)?.(text);
      }),
    );
    expect(['', 'localhost', '127.1', '1.2.3.4.5', '10.0.0.1/8'].map(reachOf)).toStrictEqual(
      Array(5).fill(null),
    );
  });

  test('a network takes its own addresses, mapped ones too, and no others', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 0, max: 32 }), fc.ipV4(), (base, prefix, other) => {
        const isInside = networkOf(`${base}/${prefix}`);
        const number = (ip: string) => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
        const expected = prefix === 0 || (number(base) ^ number(other)) >>> (32 - prefix) === 0;
        expect(isInside?.(other)).toBe(expected);
        expect(isInside?.(`::ffff:${other}`)).toBe(expected);
      }),
    );
    expect(['10.0.0.0/33', '::/129', 'x/8', '10.0.0.0/', ''].map(networkOf)).toStrictEqual(
      Array(5).fill(null),
    );
  });
});
