/** host:port as text, against node:net as the judge of addresses. */
import assert from 'node:assert/strict';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import test from 'node:test';
import fc from 'fast-check';
import {
  formatHostPort,
  isHostName,
  isIp4,
  isIp6,
  isLoopback,
  parseHostPort,
} from '../../sidecar/core/host-port.ts';

const addressText = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:.[]') }),
  fc.string(),
);

test('addresses are told as node:net tells them', () => {
  fc.assert(
    fc.property(addressText, (text) => {
      assert.equal(isIp4(text), isIPv4(text));
      if (!text.includes('%')) assert.equal(isIp6(text), isIPv6(text));
    }),
    { numRuns: 2000 },
  );
});

test('what is parsed can be written and parsed again', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.nat(65535), (host, port) => {
      const text = formatHostPort({ host, port });
      assert.deepEqual(parseHostPort(text), { host, port });
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
        assert.ok(parsed.port >= 0 && parsed.port <= 65535);
        assert.ok(parsed.host === '' || isIP(parsed.host) !== 0 || isHostName(parsed.host));
      },
    ),
    { numRuns: 2000 },
  );
});

test('forms that would bind something else than what was written', () => {
  for (const text of [
    '127.1:80',
    '0x7f.1:80',
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
    assert.equal(parseHostPort(text), null, text);
  }
  assert.deepEqual(parseHostPort(':8000'), { host: '', port: 8000 });
  assert.deepEqual(parseHostPort('8000'), { host: '', port: 8000 });
});

test('loopback is what only this host reaches', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', 'a.localhost'])
    assert.ok(isLoopback(host), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '127.evil.example', 'localhost.example']) {
    assert.ok(!isLoopback(host), host);
  }
});
