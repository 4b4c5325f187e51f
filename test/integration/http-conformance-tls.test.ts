/** Where a response by a tunnel ends must not hang on how its TLS does (RFC 9112 §9.8). */
import net from 'node:net';
import tls from 'node:tls';
import { describe, expect, test } from '@jest/globals';
import { without } from '../../sidecar/core/http/headers.ts';
import { fieldLines } from '../../sidecar/core/http/http1-encode.ts';
import { TUNNEL_CERTIFICATE, TUNNEL_KEY } from '../support/edges/tunnel-edge.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { OK, requestTo } from '../support/wire/exchange.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer, request } from '../support/wire/wire-messages.ts';

/** An edge that ends answers by closing, as HTTP/1.0 does: with the alert that says so, or without. */
async function closingEdge(toPort: () => number, isTold: boolean): Promise<string> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((raw) => {
    sockets.add(raw);
    raw.on('error', () => {});
    const outer = new tls.TLSSocket(raw, { isServer: true, cert: TUNNEL_CERTIFICATE, key: TUNNEL_KEY });
    outer.on('error', () => {});
    void relay(outer).then(() => (isTold ? outer.end() : raw.end()));
  });
  async function relay(outer: tls.TLSSocket): Promise<void> {
    const inner = await Wire.connect(toPort());
    outer.on('data', (bytes: Buffer) => inner.send(bytes));
    const got = await answer(inner);
    const fields = without(
      got.head.fields,
      (name) => name === 'content-length' || name === 'transfer-encoding',
    );
    const head = `HTTP/1.0 ${got.head.status} OK\r\n${fieldLines(fields)}\r\n`;
    await new Promise<void>((resolve) =>
      outer.write(Buffer.from(head + got.body, 'latin1'), () => resolve()),
    );
    inner.close();
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `https://localhost:${(server.address() as net.AddressInfo).port}`;
}

describe('a response by TLS', () => {
  test('a response by TLS that only its end delimits is refused: nobody can tell it from a cut one', async () => {
    for (const isTold of [true, false]) {
      const late = { port: 0 };
      const tunnelUrl = await closingEdge(() => late.port, isTold);
      const pair = await pairFor({ peers: [{ hasVpn: false, tunnelUrl }] });
      late.port = pair.b.listener.port;
      const client = await pair.client();
      client.send(requestTo('/', '', 'POST'));
      const worker = await pair.b.origin.connection();
      await request(worker);
      worker.send(OK);
      const got = await answer(client, 'POST');
      expect([got.head.status, JSON.parse(got.body).code]).toStrictEqual([502, 'upstream_protocol']);
    }
  });
});
