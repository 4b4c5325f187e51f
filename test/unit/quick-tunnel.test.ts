import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseHostname, QuickTunnel } from '../../sidecar/app/watches/quick-tunnel.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

describe('the hostname of a quick tunnel', () => {
  test('a quick tunnel has a hostname, a named one has none', () => {
    expect(parseHostname('{"hostname":"a-b-c.trycloudflare.com"}')).toBe('https://a-b-c.trycloudflare.com');
    for (const none of ['{"hostname":""}', '{}', '[]', 'null', '', '{"hostname":5}', '{"hostname":"a b"}']) {
      expectNamed(parseHostname(none), none).toBe(null);
    }
  });

  test('a response can be anything and never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseHostname(text)));
    fc.assert(fc.property(fc.json(), (text) => void parseHostname(text)));
    expect(parseHostname(`{"hostname":"${'a'.repeat(5_000)}"}`)).toBe(null);
  });

  test('the name is told when it is known', async () => {
    const server = http.createServer((request, response) => {
      expect(request.url).toBe('/quicktunnel');
      response.end('{"hostname":"one-two.trycloudflare.com"}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestEnd(() => server.close());
    const found = await new Promise<string | null>((resolve) => {
      const tunnel = new QuickTunnel({
        metricsUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        onUrl: resolve,
        log: { info() {}, warn() {} },
      });
      onTestEnd(() => tunnel.stop());
      tunnel.start();
    });
    expect(found).toBe('https://one-two.trycloudflare.com');
  });
});
