/** What the first sidecar refuses by itself, and how its connection goes on. */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
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

  test('Authorization: Bearer is taken for the token, and then goes no further', async () => {
    const pair = await pairFor({ outbound: { token: 'secret' } });
    for (const value of ['Bearer secret', 'bearer secret', 'BEARER   secret']) {
      const { sent } = await exchange(
        pair,
        get('/service/llm-inference/', `Authorization: ${value}\r\nX-A: 1\r\n`),
      );
      expectNamed(all(sent.head.fields, 'authorization'), value).toStrictEqual([]);
      expect(first(sent.head.fields, 'x-a')).toBe('1');
    }
    const client = await pair.client();
    for (const value of [
      '',
      'secret',
      'Bearer',
      'Bearer ',
      'Bearer secre',
      'Bearer secret x',
      'Basic secret',
      'Bearer\tsecret',
      `Bearer ${'s'.repeat(9_000)}`,
    ]) {
      client.send(get('/service/llm-inference/', `Authorization: ${value}\r\n`));
      const { head, body } = await answer(client);
      expectNamed(head.status, value).toBe(401);
      expect(first(head.fields, 'www-authenticate')).toBe('Bearer');
      expect(body).not.toMatch(/secre/);
    }
  });

  test('what Authorization says to the worker passes where the token stands in sidecar-token', async () => {
    const pair = await pairFor({ outbound: { token: 'secret' } });
    const lines = 'Authorization: Bearer of-the-worker\r\nsidecar-token: secret\r\n';
    const { sent } = await exchange(pair, get('/service/llm-inference/', lines));
    expect(first(sent.head.fields, 'authorization')).toBe('Bearer of-the-worker');
    const both = 'Authorization: Bearer secret\r\nAuthorization: Basic x\r\nsidecar-token: secret\r\n';
    const { sent: kept } = await exchange(pair, get('/service/llm-inference/', both));
    expectNamed(all(kept.head.fields, 'authorization'), 'a token is never for the worker').toStrictEqual([
      'Basic x',
    ]);
    const client = await pair.client();
    client.send(get('/service/llm-inference/', 'Authorization: Bearer secret\r\nsidecar-token: wrong\r\n'));
    expectNamed((await answer(client)).head.status, 'what is said of the sidecar counts').toBe(401);
    const open = await pairFor();
    const { sent: untouched } = await exchange(
      open,
      get('/service/llm-inference/', 'Authorization: Bearer secret\r\n'),
    );
    expectNamed(first(untouched.head.fields, 'authorization'), 'no token is wanted').toBe('Bearer secret');
  });

  test('each app is known by its own token, and its name is told of its requests', async () => {
    const tokens = new Map([
      ['chat', 'token-of-chat'],
      ['notes', 'token-of-notes'],
    ]);
    const pair = await pairFor({ outbound: { token: 'secret', tokens } });
    for (const [line, app] of [
      ['Authorization: Bearer token-of-chat', 'chat'],
      ['sidecar-token: token-of-notes', 'notes'],
      ['sidecar-token: secret', null],
    ] as const) {
      await exchange(pair, get('/service/llm-inference/', `${line}\r\n`));
      expectNamed((await pair.finished.next()).app, line).toBe(app);
    }
    const client = await pair.client();
    client.send(get('/nowhere', 'sidecar-token: token-of-chat\r\n'));
    await answer(client);
    expectNamed((await pair.finished.next()).app, 'also of one that is refused').toBe('chat');
    client.send(get('/service/llm-inference/', 'sidecar-token: chat\r\n'));
    expect((await answer(client)).head.status).toBe(401);
    expect((await pair.finished.next()).app).toBe(null);
  });
});
