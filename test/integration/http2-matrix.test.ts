/** HTTP/1.1 and HTTP/2 apps and workers, each with each, through both sidecars. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { startVersionMesh } from '../support/version-mesh.ts';

test('HTTP/1.1 and HTTP/2, each way through both sidecars', async (t) => {
  const { ways } = await startVersionMesh(t);

  for (const { name, client, worker, at } of ways) {
    await t.test(`${name}: GET with its length`, async () => {
      const received = await client.call({ path: at('/hello') }).done;
      const { status, body, outcome, fields } = received;
      assert.deepEqual({ status, body, outcome }, { status: 200, body: 'hello', outcome: 'whole' });
      assert.equal(fields['content-length'], '5');
      assert.equal(fields['sidecar-worker'], 'called');
      assert.equal(fields['sidecar-route'], 'vpn');
      // Each hop names the version in which the response came to it (RFC 9110 §7.6.3).
      const answered = worker.url.startsWith('h2c') ? '2.0' : '1.1';
      assert.equal(fields.via, `${answered} called-inbound, ${client.version} caller-outbound`);
    });

    await t.test(`${name}: HEAD, 204, an empty body`, async () => {
      const head = await client.call({ method: 'HEAD', path: at('/hello') }).done;
      assert.deepEqual([head.status, head.body, head.fields['content-length']], [200, '', '5']);
      const empty = await client.call({ path: at('/empty') }).done;
      assert.deepEqual([empty.status, empty.body, empty.fields['x-worker']], [204, '', 'empty']);
      assert.equal(empty.fields['content-length'], undefined);
      const zero = await client.call({ path: at('/zero') }).done;
      assert.deepEqual([zero.status, zero.body, zero.outcome], [200, '', 'whole']);
    });

    await t.test(`${name}: POST with a length, and without`, async () => {
      const known = await client.call({ method: 'POST', path: at('/body'), body: 'x'.repeat(100_000) }).done;
      assert.equal(known.body, 'POST 100000');
      assert.equal((await worker.events.next()).detail.length, 100_000);
      const call = client.call({ method: 'POST', path: at('/body'), body: true });
      for (let n = 0; n < 10; n++) call.write(`piece ${n};`);
      call.end();
      assert.equal((await call.done).body, 'POST 80');
      assert.match((await worker.events.next()).detail, /^piece 0;.*piece 9;$/);
    });

    await t.test(`${name}: both directions at once`, async () => {
      const call = client.call({ method: 'POST', path: at('/echo'), body: true });
      let sent = '';
      for (let n = 0; n < 50; n++) {
        call.write(`ping ${n} `);
        sent += `ping ${n} `;
        assert.equal(await call.bytes(sent.length), sent); // before the request ends
      }
      call.end();
      const received = await call.done;
      assert.deepEqual([received.body, received.outcome], [sent, 'whole']);
    });

    await t.test(`${name}: trailers of the response and of the request`, async () => {
      const received = await client.call({ path: at('/trailers'), fields: { te: 'trailers' } }).done;
      assert.equal(received.body, 'with trailers');
      assert.equal(received.trailers['x-sum'], '42');
      const call = client.call({
        method: 'POST',
        path: at('/body'),
        fields: { trailer: 'x-up' },
        body: true,
      });
      call.write('body');
      call.end({ 'x-up': '7' });
      assert.equal((await call.done).status, 200);
      const seen = [await worker.events.next(), await worker.events.next()];
      assert.ok(seen.some(({ what, detail }) => what === 'trailers' && detail === 'x-up=7'));
    });

    await t.test(`${name}: an interim response comes first`, async () => {
      const call = client.call({ path: at('/hint') });
      assert.equal((await call.done).body, 'hinted');
      assert.deepEqual(call.interim, [103]);
    });

    await t.test(`${name}: a response before the end of the upload`, async () => {
      const call = client.call({ method: 'POST', path: at('/early'), body: true });
      call.write('begun');
      const { status } = await call.head;
      assert.equal(status, 200);
      assert.equal((await call.done).body, 'too much');
    });

    await t.test(`${name}: a response that breaks is never whole`, async () => {
      const received = await client.call({ path: at('/cut') }).done;
      assert.deepEqual([received.status, received.outcome], [200, 'cut']);
      assert.equal((await worker.events.next()).what, 'aborted');
    });
  }

  await t.test('both versions on one port, in any order', async () => {
    const [one, , two] = ways;
    const calls = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? one : two));
    const received = await Promise.all(calls.map((way) => way?.client.call({ path: way.at('/hello') }).done));
    assert.deepEqual(new Set(received.map((answer) => answer?.body)), new Set(['hello']));
  });

  for (const { name, worker } of ways) assert.equal(worker.events.size, 0, `${name}: more than was expected`);
});
