/** Upgrades through both sidecars: the frames pass untouched, and both sides end cleanly whoever breaks. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { fillUp } from '../support/fill-up.ts';
import { pairFor, type SidecarPair } from '../support/sidecar-pair.ts';
import { acceptOf, decodeFrame, encodeFrame, type Frame, type Opcode } from '../support/websocket-frames.ts';
import type { Wire } from '../support/wire.ts';
import { answerHead, requestHead } from '../support/wire-messages.ts';

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const HANDSHAKE = `GET /service/llm-inference/chat?x=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`;
const SWITCHING = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}\r\nSec-WebSocket-Protocol: b\r\n\r\n`;
const MASK = Buffer.from([1, 2, 3, 4]);

function frame(opcode: Opcode, payload: string | Buffer, isLast = true): Frame {
  return { opcode, isLast, payload: typeof payload === 'string' ? Buffer.from(payload) : payload };
}

function receive(wire: Wire): Promise<Frame> {
  return wire.when('a frame', () => {
    const decoded = decodeFrame(wire.bytes);
    if (decoded === null) return null;
    wire.take(decoded.end);
    return decoded.frame;
  });
}

async function opened(pair: SidecarPair): Promise<{ client: Wire; worker: Wire }> {
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  worker.send(SWITCHING);
  await answerHead(client);
  return { client, worker };
}

async function bothClosed(pair: SidecarPair): Promise<void> {
  assert.equal((await pair.finished.next()).status, 101);
  await pair.b.finished.next();
  assert.equal(pair.b.outstanding, 0);
  assert.equal(pair.b.service.admission.inFlight, 0);
  assert.equal(pair.b.peer.health.consecutiveFailures, 0);
}

test('the handshake passes with its fields, and says who answered', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(HANDSHAKE);
  const worker = await pair.b.origin.connection();
  const head = await requestHead(worker);
  assert.equal(head.target, '/chat?x=1');
  assert.equal(head.upgrade, 'websocket');
  assert.equal(first(head.fields, 'sec-websocket-key'), KEY);
  assert.equal(first(head.fields, 'sec-websocket-extensions'), 'permessage-deflate');
  worker.send(SWITCHING);
  const got = await answerHead(client);
  assert.equal(got.status, 101);
  assert.equal(first(got.fields, 'upgrade'), 'WebSocket', 'what the worker chose');
  assert.equal(first(got.fields, 'sec-websocket-accept'), acceptOf(KEY));
  assert.equal(first(got.fields, 'sec-websocket-protocol'), 'b');
  assert.equal(first(got.fields, 'sidecar-worker'), 'b');
  assert.equal(first(got.fields, 'sidecar-auth'), undefined);
  assert.deepEqual(all(got.fields, 'content-length'), []);
  client.close();
  await worker.ended();
  worker.close();
  await bothClosed(pair);
});

test('frames of every kind and size pass in both directions', async (t) => {
  const pair = await pairFor(t);
  const { client, worker } = await opened(pair);
  const frames = [
    frame('text', 'grüße'),
    frame('binary', Buffer.from([0, 255, 13, 10])),
    frame('text', 'one ', false),
    frame('ping', 'in between'),
    frame('continuation', 'two ', false),
    frame('continuation', 'three'),
    frame('pong', ''),
    frame('binary', Buffer.alloc(125, 1)),
    frame('binary', Buffer.alloc(126, 2)),
    frame('binary', Buffer.alloc(65_536, 3)),
    frame('binary', Buffer.alloc(300_000, 4)),
  ];
  for (const each of frames) {
    client.send(encodeFrame(each, MASK));
    assert.deepEqual(await receive(worker), each);
    worker.send(encodeFrame(each, null));
    assert.deepEqual(await receive(client), each);
  }
  client.send(encodeFrame(frame('close', Buffer.from([3, 232])), MASK));
  assert.deepEqual(await receive(worker), frame('close', Buffer.from([3, 232])));
  worker.send(encodeFrame(frame('close', Buffer.from([3, 232])), null));
  worker.finish();
  assert.deepEqual(await receive(client), frame('close', Buffer.from([3, 232])));
  assert.equal(await client.ended(), 'end');
  client.finish();
  await worker.ended();
  await bothClosed(pair);
});

test('what either side sends ahead of the switch is not lost', async (t) => {
  const pair = await pairFor(t);
  const client = await pair.client();
  client.send(Buffer.concat([Buffer.from(HANDSHAKE), encodeFrame(frame('text', 'early'), MASK)]));
  const worker = await pair.b.origin.connection();
  await requestHead(worker);
  worker.send(Buffer.concat([Buffer.from(SWITCHING), encodeFrame(frame('text', 'hello'), null)]));
  await answerHead(client);
  assert.deepEqual(await receive(client), frame('text', 'hello'));
  assert.deepEqual(await receive(worker), frame('text', 'early'));
});

test('a half-closed side still receives', async (t) => {
  const pair = await pairFor(t);
  const { client, worker } = await opened(pair);
  client.finish();
  assert.equal(await worker.ended(), 'end');
  worker.send(encodeFrame(frame('text', 'still here'), null));
  assert.deepEqual(await receive(client), frame('text', 'still here'));
  worker.finish();
  assert.equal(await client.ended(), 'end');
  await bothClosed(pair);
});

test('the last bytes arrive although both sides have ended and the reader is slow', async (t) => {
  const pair = await pairFor(t);
  const { client, worker } = await opened(pair);
  client.socket.pause();
  const before = client.receivedBytes;
  const written = await fillUp(worker);
  client.finish();
  worker.finish();
  await worker.ended();
  client.socket.resume();
  assert.equal(await client.ended(), 'end');
  assert.ok(client.receivedBytes - before >= written, 'nothing is cut off');
  await bothClosed(pair);
});

for (const [who, how] of [
  ['client', 'close'],
  ['client', 'reset'],
  ['worker', 'close'],
  ['worker', 'reset'],
] as const) {
  test(`the ${who} breaks off (${how}): the other side ends too`, async (t) => {
    const pair = await pairFor(t);
    const { client, worker } = await opened(pair);
    const [gone, left] = who === 'client' ? [client, worker] : [worker, client];
    gone[how]();
    await left.ended();
    left.close();
    await bothClosed(pair);
  });

  test(`the ${who} breaks off (${how}) while the other does not read: nothing is left open`, async (t) => {
    const pair = await pairFor(t);
    const { client, worker } = await opened(pair);
    const [gone, left] = who === 'client' ? [client, worker] : [worker, client];
    left.socket.pause();
    await fillUp(gone);
    gone[how]();
    left.socket.resume();
    await left.ended();
    left.close();
    await bothClosed(pair);
  });
}

test('back-pressure holds in both directions', async (t) => {
  const pair = await pairFor(t);
  const { client, worker } = await opened(pair);
  client.socket.pause();
  worker.socket.pause();
  const [up, down] = await Promise.all([fillUp(client), fillUp(worker)]);
  assert.ok(up > 0 && down > 0);
});
