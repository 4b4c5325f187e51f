/**
 * What a worker's sidecar gives back from its queue, and to whom: as a caller with a proof of its own asks, on the wire.
 */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { first } from '../../sidecar/core/http/headers.ts';
import type { Slot } from '../../sidecar/core/worker/admission.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { eventually } from '../support/eventually.ts';
import { InboundSide, SERVICE } from '../support/inbound-side.ts';
import { member } from '../support/members.ts';
import { Wire } from '../support/wire.ts';
import { answer, request } from '../support/wire-messages.ts';

const TARGET = `/service/${SERVICE}/`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Bed {
  readonly side: InboundSide;
  readonly client: Wire;
  readonly slot: Slot;
  readonly callerKey: string;
  readonly nonce: string;
}

/** A POST that waits for the only slot. */
async function bed(t: TestContext): Promise<Bed> {
  const side = await InboundSide.start({ concurrency: 1, queue: 1 });
  t.after(() => side.close());
  const slot = side.service.admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
  assert.equal(slot.kind, 'granted');
  const identity = member('caller', { nowMs: Date.now(), services: [] });
  const { header, nonce } = new RequestAuth(identity).sign({
    peerKey: side.peer.key,
    method: 'POST',
    target: TARGET,
    service: SERVICE,
    nowMs: Date.now(),
  });
  const client = await Wire.connect(side.listener.port);
  t.after(() => client.close());
  client.send(`POST ${TARGET} HTTP/1.1\r\nHost: b\r\nsidecar-auth: ${header}\r\nContent-Length: 2\r\n\r\nhi`);
  await eventually(
    'it waits',
    () => side.service.admission.queued,
    (queued) => queued === 1,
  );
  return { side, client, slot: slot as Slot, callerKey: identity.keyHex, nonce };
}

test('one that waits is given back to its caller alone, and its worker never sees it', async (t) => {
  const { side, client, slot, callerKey, nonce } = await bed(t);
  const another = member('another', { nowMs: Date.now(), services: [] }).keyHex;
  assert.equal(side.service.cancelQueued(another, nonce), false);
  assert.equal(side.service.cancelQueued(callerKey, `${nonce.slice(0, -1)}_`), false);
  assert.equal(side.service.admission.queued, 1);

  assert.equal(side.service.cancelQueued(callerKey, nonce), true);
  const { head, body } = await answer(client, 'POST');
  assert.equal(head.status, 503);
  assert.match(first(head.fields, 'sidecar-refusal') ?? '', /^saturated;not_sent;.*cancelled it/);
  assert.equal(JSON.parse(body).code, 'saturated');
  assert.equal(side.service.cancelQueued(callerKey, nonce), true, 'asked again, it says the same');

  slot.release(performance.now(), null);
  assert.deepEqual([side.service.admission.queued, side.service.admission.inFlight], [0, 0]);
  assert.equal(side.origin.connections.length, 0);
});

test('one that is being served is not given back', async (t) => {
  const { side, client, slot, callerKey, nonce } = await bed(t);
  slot.release(performance.now(), null);
  assert.equal(side.service.cancelQueued(callerKey, nonce), false);
  const worker = await side.origin.connection();
  await request(worker);
  assert.equal(side.service.cancelQueued(callerKey, nonce), false);
  worker.send(OK);
  assert.equal((await answer(client, 'POST')).head.status, 200);
  assert.equal(side.service.cancelQueued(callerKey, nonce), false);
});
