/**
 * What a worker's sidecar gives back from its queue, and to whom: as a caller with a proof of its own asks, on the wire.
 */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import type { Slot } from '../../sidecar/core/worker/admission.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { InboundSide, SERVICE } from '../support/meshes/inbound-side.ts';
import { member } from '../support/meshes/members.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer, request } from '../support/wire/wire-messages.ts';

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
async function bed(): Promise<Bed> {
  const side = await InboundSide.start({ concurrency: 1, queue: 1 });
  onTestEnd(() => side.close());
  const slot = side.service.admission.acquire({ expectedQueue: null, sinceMs: 0, onGranted: () => {} });
  expect(slot.kind).toBe('granted');
  const identity = member('caller', { nowMs: Date.now(), services: [] });
  const { header, nonce } = new RequestAuth(identity).sign({
    peerKey: side.peer.key,
    method: 'POST',
    target: TARGET,
    service: SERVICE,
    nowMs: Date.now(),
  });
  const client = await Wire.connect(side.listener.port);
  onTestEnd(() => client.close());
  client.send(`POST ${TARGET} HTTP/1.1\r\nHost: b\r\nsidecar-auth: ${header}\r\nContent-Length: 2\r\n\r\nhi`);
  await eventually(
    'it waits',
    () => side.service.admission.queued,
    (queued) => queued === 1,
  );
  return { side, client, slot: slot as Slot, callerKey: identity.keyHex, nonce };
}

describe("a request taken back from a worker's queue", () => {
  test('one that waits is given back to its caller alone, and its worker never sees it', async () => {
    const { side, client, slot, callerKey, nonce } = await bed();
    const another = member('another', { nowMs: Date.now(), services: [] }).keyHex;
    expect(side.service.cancelQueued(another, nonce)).toBe(false);
    expect(side.service.cancelQueued(callerKey, `${nonce.slice(0, -1)}_`)).toBe(false);
    expect(side.service.admission.queued).toBe(1);

    expect(side.service.cancelQueued(callerKey, nonce)).toBe(true);
    const { head, body } = await answer(client, 'POST');
    expect(head.status).toBe(503);
    expect(first(head.fields, 'sidecar-refusal') ?? '').toMatch(/^saturated;not_sent;.*cancelled it/);
    expect(JSON.parse(body).code).toBe('saturated');
    expectNamed(side.service.cancelQueued(callerKey, nonce), 'asked again, it says the same').toBe(true);

    slot.release(performance.now(), null);
    expect([side.service.admission.queued, side.service.admission.inFlight]).toStrictEqual([0, 0]);
    expect(side.origin.connections).toHaveLength(0);
  });

  test('one that is being served is not given back', async () => {
    const { side, client, slot, callerKey, nonce } = await bed();
    slot.release(performance.now(), null);
    expect(side.service.cancelQueued(callerKey, nonce)).toBe(false);
    const worker = await side.origin.connection();
    await request(worker);
    expect(side.service.cancelQueued(callerKey, nonce)).toBe(false);
    worker.send(OK);
    expect((await answer(client, 'POST')).head.status).toBe(200);
    expect(side.service.cancelQueued(callerKey, nonce)).toBe(false);
  });
});
