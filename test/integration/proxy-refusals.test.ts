/** What the first sidecar refuses by itself, and how its connection goes on. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { exchange } from '../support/wire/exchange.ts';
import { answer } from '../support/wire/wire-messages.ts';

function get(target: string, lines = ''): string {
  return `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:8010\r\n${lines}\r\n`;
}

describe('what the first sidecar refuses', () => {
  test('a loop is refused', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(get('/service/llm-inference/', 'Via: 1.1 x, 1.1 A-Outbound (old)\r\n'));
    const own = await answer(client);
    expect(own.head.status).toBe(508);
    client.send(get('/service/llm-inference/', 'Via: 1.1 b-inbound\r\n'));
    const its = await answer(client);
    expect(its.head.status).toBe(508);
    expect(JSON.parse(its.body).code).toBe('loop_detected');
    expect(pair.b.standing.health.consecutiveFailures).toBe(0);
    expect(pair.b.origin.connections).toHaveLength(0);
  });

  test('CONNECT is refused, and the connection goes on', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send('CONNECT llm-inference.mesh:80 HTTP/1.1\r\nHost: llm-inference.mesh:80\r\n\r\n');
    expect((await answer(client, 'CONNECT')).head.status).toBe(501);
    client.send(get('/nothing'));
    const unknown = await answer(client);
    expect(unknown.head.status).toBe(404);
    expect(JSON.parse(unknown.body).code).toBe('unknown_service');
  });

  test('the token is wanted where one is set, and goes no further', async () => {
    const pair = await pairFor({ outbound: { token: 'secret' } });
    const client = await pair.client();
    for (const token of ['', 'secre', 'secrets', 'secreT', '\xf3ecret', 'tercer']) {
      client.send(get('/service/llm-inference/', token === '' ? '' : `sidecar-token: ${token}\r\n`));
      expectNamed((await answer(client)).head.status, token).toBe(401);
    }
    expect(pair.b.origin.connections).toHaveLength(0);
    const { sent } = await exchange(pair, get('/service/llm-inference/', 'sidecar-token: secret\r\n'));
    expect(first(sent.head.fields, 'sidecar-token')).toBe(undefined);
  });
});
