/** host:port as text, against node:net as the judge of addresses. */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  formatHostPort,
  isHostName,
  isIp4,
  isIp6,
  isLoopback,
  parseHostPort,
} from '../../sidecar/core/host-port.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const addressText = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:.[]') }),
  fc.string(),
);

describe('any host:port', () => {
  test('addresses are told as node:net tells them', () => {
    fc.assert(
      fc.property(addressText, (text) => {
        expect(isIp4(text)).toBe(isIPv4(text));
        if (!text.includes('%')) expect(isIp6(text)).toBe(isIPv6(text));
      }),
      { numRuns: 2000 },
    );
  });

  test('what is parsed can be written and parsed again', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.nat(65535), (host, port) => {
        const text = formatHostPort({ host, port });
        expect(parseHostPort(text)).toStrictEqual({ host, port });
      }),
    );
  });

  test('any text is parsed or refused, never thrown at', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          addressText,
          fc.tuple(addressText, fc.nat()).map(([host, port]) => `${host}:${port}`),
        ),
        (text) => {
          const parsed = parseHostPort(text);
          if (parsed === null) return;
          expect(parsed.port).toBeGreaterThanOrEqual(0);
          expect(parsed.port).toBeLessThanOrEqual(65535);
          expect(parsed.host === '' || isIP(parsed.host) !== 0 || isHostName(parsed.host)).toBe(true);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('an IPv6 address has eight groups, or fewer and one ::', () => {
    for (const text of [
      '1:2:3:4:5:6:7:8',
      '::',
      '::1',
      '1::',
      '1:2:3:4:5:6:7::',
      '::2:3:4:5:6:7:8',
      '1::8',
      '::1.2.3.4',
      '1:2:3:4:5:6:1.2.3.4',
    ]) {
      expectNamed(isIp6(text), text).toBe(true);
      expectNamed(parseHostPort(`[${text}]:80`), text).toStrictEqual({ host: text, port: 80 });
    }
    for (const text of [
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4::5:6:7:8',
      '::1:2:3:4:5:6:7:8',
      '1::2::3',
      ':::',
      '1:',
      ':1',
      '12345::',
      '::g',
      '::1.2.3',
      '1:2:3:4:5:6:7:1.2.3.4',
      '::1%eth0',
      '1.2.3.4',
      '',
    ]) {
      expectNamed(isIp6(text), text).toBe(false);
      expectNamed(parseHostPort(`[${text}]:80`), text).toBe(null);
    }
  });

  test('forms that would bind something else than what was written', () => {
    for (const text of [
      '127.1:80',
      '0x7f.1:80',
      '0x7f000001:80',
      '0x:80',
      'a.0X10:80',
      '1:80',
      '010.0.0.1:80',
      '::1:80',
      '[::1]',
      'host',
      'a b:80',
      'h:65536',
      'h:',
      'h:-1',
      '[h]:80',
      'u@h:80',
      'h/x:80',
    ]) {
      expectNamed(parseHostPort(text), text).toBe(null);
    }
    expect(parseHostPort(':8000')).toStrictEqual({ host: '', port: 8000 });
    expect(parseHostPort('8000')).toStrictEqual({ host: '', port: 8000 });
  });

  test('loopback is what only this host reaches', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', 'a.localhost'])
      expectNamed(isLoopback(host), host).toBe(true);
    for (const host of ['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '127.evil.example', 'localhost.example']) {
      expectNamed(isLoopback(host), host).toBe(false);
    }
  });
});
