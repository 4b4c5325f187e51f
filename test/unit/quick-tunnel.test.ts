import assert from 'node:assert/strict';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import fc from 'fast-check';
import { parseHostname, QuickTunnel } from '../../sidecar/app/quick-tunnel.ts';

test('a quick tunnel has a hostname, a named one has none', () => {
  assert.equal(parseHostname('{"hostname":"a-b-c.trycloudflare.com"}'), 'https://a-b-c.trycloudflare.com');
  for (const none of ['{"hostname":""}', '{}', '[]', 'null', '', '{"hostname":5}', '{"hostname":"a b"}']) {
    assert.equal(parseHostname(none), null, none);
  }
});

test('a response can be anything and never throws', () => {
  fc.assert(fc.property(fc.string(), (text) => void parseHostname(text)));
  fc.assert(fc.property(fc.json(), (text) => void parseHostname(text)));
  assert.equal(parseHostname(`{"hostname":"${'a'.repeat(5_000)}"}`), null);
});

test('the name is told when it is known', async (t) => {
  const server = http.createServer((request, response) => {
    assert.equal(request.url, '/quicktunnel');
    response.end('{"hostname":"one-two.trycloudflare.com"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const found = await new Promise<string | null>((resolve) => {
    const tunnel = new QuickTunnel({
      metricsUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      onUrl: resolve,
      log: { info() {}, warn() {} },
    });
    t.after(() => tunnel.stop());
    tunnel.start();
  });
  assert.equal(found, 'https://one-two.trycloudflare.com');
});
