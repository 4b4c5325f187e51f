/** HTTP/1.1 and HTTP/2 apps and workers, each with each, through both sidecars. */

import { describe, expect, test } from '@jest/globals';
import { startVersionMesh, WAYS } from '../support/meshes/version-mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';

describe('HTTP/1.1 and HTTP/2, each way through both sidecars', () => {
  const bed = sharedByTests(() => startVersionMesh());

  for (const name of WAYS) {
    describe(name, () => {
      test('a GET is answered with its length', async () => {
        const { client, worker, at } = bed().ways[name];
        const received = await client.call({ path: at('/hello') }).done;
        const { status, body, outcome, fields } = received;
        expect({ status, body, outcome }).toStrictEqual({ status: 200, body: 'hello', outcome: 'whole' });
        expect(fields['content-length']).toBe('5');
        expect(fields['sidecar-worker']).toBe('called');
        expect(fields['sidecar-route']).toBe('vpn');
        // Each hop names the version in which the response came to it (RFC 9110 §7.6.3).
        const answered = worker.url.startsWith('h2c') ? '2.0' : '1.1';
        expect(fields.via).toBe(`${answered} called-inbound, ${client.version} caller-outbound`);
      });

      test('HEAD, 204 and an empty body are answered as such', async () => {
        const { client, at } = bed().ways[name];
        const head = await client.call({ method: 'HEAD', path: at('/hello') }).done;
        expect([head.status, head.body, head.fields['content-length']]).toStrictEqual([200, '', '5']);
        const empty = await client.call({ path: at('/empty') }).done;
        expect([empty.status, empty.body, empty.fields['x-worker']]).toStrictEqual([204, '', 'empty']);
        expect(empty.fields['content-length']).toBe(undefined);
        const zero = await client.call({ path: at('/zero') }).done;
        expect([zero.status, zero.body, zero.outcome]).toStrictEqual([200, '', 'whole']);
      });

      test('a POST arrives with a length, and without', async () => {
        const { client, worker, at } = bed().ways[name];
        const known = await client.call({ method: 'POST', path: at('/body'), body: 'x'.repeat(100_000) })
          .done;
        expect(known.body).toBe('POST 100000');
        expect((await worker.events.next()).detail.length).toBe(100_000);
        const call = client.call({ method: 'POST', path: at('/body'), body: true });
        for (let n = 0; n < 10; n++) call.write(`piece ${n};`);
        call.end();
        expect((await call.done).body).toBe('POST 80');
        expect((await worker.events.next()).detail).toMatch(/^piece 0;.*piece 9;$/);
      });

      test('both directions stream at once', async () => {
        const { client, at } = bed().ways[name];
        const call = client.call({ method: 'POST', path: at('/echo'), body: true });
        let sent = '';
        for (let n = 0; n < 50; n++) {
          call.write(`ping ${n} `);
          sent += `ping ${n} `;
          expect(await call.bytes(sent.length)).toBe(sent); // before the request ends
        }
        call.end();
        const received = await call.done;
        expect([received.body, received.outcome]).toStrictEqual([sent, 'whole']);
      });

      test('trailers of the response and of the request arrive', async () => {
        const { client, worker, at } = bed().ways[name];
        const received = await client.call({ path: at('/trailers'), fields: { te: 'trailers' } }).done;
        expect(received.body).toBe('with trailers');
        expect(received.trailers['x-sum']).toBe('42');
        const call = client.call({
          method: 'POST',
          path: at('/body'),
          fields: { trailer: 'x-up' },
          body: true,
        });
        call.write('body');
        call.end({ 'x-up': '7' });
        expect((await call.done).status).toBe(200);
        const seen = [await worker.events.next(), await worker.events.next()];
        expect(seen.some(({ what, detail }) => what === 'trailers' && detail === 'x-up=7')).toBe(true);
      });

      test('an interim response comes first', async () => {
        const { client, at } = bed().ways[name];
        const call = client.call({ path: at('/hint') });
        expect((await call.done).body).toBe('hinted');
        expect(call.interim).toStrictEqual([103]);
      });

      test('a response may come before the end of the upload', async () => {
        const { client, at } = bed().ways[name];
        const call = client.call({ method: 'POST', path: at('/early'), body: true });
        call.write('begun');
        const { status } = await call.head;
        expect(status).toBe(200);
        expect((await call.done).body).toBe('too much');
      });

      test('a response that breaks is never whole', async () => {
        const { client, worker, at } = bed().ways[name];
        const received = await client.call({ path: at('/cut') }).done;
        expect([received.status, received.outcome]).toStrictEqual([200, 'cut']);
        expect((await worker.events.next()).what).toBe('aborted');
      });
    });
  }

  test('both versions are served on one port, in any order', async () => {
    const { 'h1→h1': one, 'h2→h1': two } = bed().ways;
    const calls = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? one : two));
    const received = await Promise.all(calls.map((way) => way.client.call({ path: way.at('/hello') }).done));
    expect(new Set(received.map((answer) => answer?.body))).toStrictEqual(new Set(['hello']));
  });

  test('nothing more than all that has come to a worker', () => {
    for (const [name, { worker }] of Object.entries(bed().ways))
      expectNamed(worker.events.size, name).toBe(0);
  });
});
