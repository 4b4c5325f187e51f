/** Upgrades through both sidecars: the frames pass untouched, and both sides end cleanly whoever breaks. */
import { describe, expect, test } from '@jest/globals';
import { all, first } from '../../sidecar/core/http/headers.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { fillUp } from '../support/wire/fill-up.ts';
import {
  acceptOf,
  decodeFrame,
  encodeFrame,
  type Frame,
  type Opcode,
} from '../support/wire/websocket-frames.ts';
import type { Wire } from '../support/wire/wire.ts';
import { answerHead, requestHead } from '../support/wire/wire-messages.ts';

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
  expect((await pair.finished.next()).status).toBe(101);
  await pair.b.finished.next();
  expect(pair.b.outstanding).toBe(0);
  expect(pair.b.service.admission.inFlight).toBe(0);
  expect(pair.b.standing.health.consecutiveFailures).toBe(0);
}

describe('a WebSocket through both sidecars', () => {
  test('the handshake passes with its fields, and says who answered', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(HANDSHAKE);
    const worker = await pair.b.origin.connection();
    const head = await requestHead(worker);
    expect(head.target).toBe('/chat?x=1');
    expect(head.upgrade).toBe('websocket');
    expect(first(head.fields, 'sec-websocket-key')).toBe(KEY);
    expect(first(head.fields, 'sec-websocket-extensions')).toBe('permessage-deflate');
    worker.send(SWITCHING);
    const got = await answerHead(client);
    expect(got.status).toBe(101);
    expectNamed(first(got.fields, 'upgrade'), 'what the worker chose').toBe('WebSocket');
    expect(first(got.fields, 'sec-websocket-accept')).toBe(acceptOf(KEY));
    expect(first(got.fields, 'sec-websocket-protocol')).toBe('b');
    expect(first(got.fields, 'sidecar-worker')).toBe('b');
    expect(first(got.fields, 'sidecar-auth')).toBe(undefined);
    expect(all(got.fields, 'content-length')).toStrictEqual([]);
    client.close();
    await worker.ended();
    worker.close();
    await bothClosed(pair);
  });

  test('frames of every kind and size pass in both directions', async () => {
    const pair = await pairFor();
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
      expect(await receive(worker)).toStrictEqual(each);
      worker.send(encodeFrame(each, null));
      expect(await receive(client)).toStrictEqual(each);
    }
    client.send(encodeFrame(frame('close', Buffer.from([3, 232])), MASK));
    expect(await receive(worker)).toStrictEqual(frame('close', Buffer.from([3, 232])));
    worker.send(encodeFrame(frame('close', Buffer.from([3, 232])), null));
    worker.finish();
    expect(await receive(client)).toStrictEqual(frame('close', Buffer.from([3, 232])));
    expect(await client.ended()).toBe('end');
    client.finish();
    await worker.ended();
    await bothClosed(pair);
  });

  test('what either side sends ahead of the switch is not lost', async () => {
    const pair = await pairFor();
    const client = await pair.client();
    client.send(Buffer.concat([Buffer.from(HANDSHAKE), encodeFrame(frame('text', 'early'), MASK)]));
    const worker = await pair.b.origin.connection();
    await requestHead(worker);
    worker.send(Buffer.concat([Buffer.from(SWITCHING), encodeFrame(frame('text', 'hello'), null)]));
    await answerHead(client);
    expect(await receive(client)).toStrictEqual(frame('text', 'hello'));
    expect(await receive(worker)).toStrictEqual(frame('text', 'early'));
  });

  test('a half-closed side still receives', async () => {
    const pair = await pairFor();
    const { client, worker } = await opened(pair);
    client.finish();
    expect(await worker.ended()).toBe('end');
    worker.send(encodeFrame(frame('text', 'still here'), null));
    expect(await receive(client)).toStrictEqual(frame('text', 'still here'));
    worker.finish();
    expect(await client.ended()).toBe('end');
    await bothClosed(pair);
  });

  test('the last bytes arrive although both sides have ended and the reader is slow', async () => {
    const pair = await pairFor();
    const { client, worker } = await opened(pair);
    client.socket.pause();
    const before = client.receivedBytes;
    const written = await fillUp(worker);
    client.finish();
    worker.finish();
    await worker.ended();
    client.socket.resume();
    expect(await client.ended()).toBe('end');
    expectNamed(client.receivedBytes - before, 'nothing is cut off').toBeGreaterThanOrEqual(written);
    await bothClosed(pair);
  });

  for (const [who, how] of [
    ['client', 'close'],
    ['client', 'reset'],
    ['worker', 'close'],
    ['worker', 'reset'],
  ] as const) {
    test(`the ${who} breaks off (${how}): the other side ends too`, async () => {
      const pair = await pairFor();
      const { client, worker } = await opened(pair);
      const [gone, left] = who === 'client' ? [client, worker] : [worker, client];
      const before = left.receivedBytes;
      gone[how]();
      expect(await left.ended()).toBe('end');
      expectNamed(left.receivedBytes, 'and is told nothing').toBe(before);
      left.close();
      await bothClosed(pair);
    });

    test(`the ${who} breaks off (${how}) while the other does not read: nothing is left open`, async () => {
      const pair = await pairFor();
      const { client, worker } = await opened(pair);
      const [gone, left] = who === 'client' ? [client, worker] : [worker, client];
      left.socket.pause();
      const before = left.receivedBytes;
      const written = await fillUp(gone);
      gone[how]();
      left.socket.resume();
      expect(await left.ended()).toBe('end');
      // What was on its way when a reset came is lost.
      if (how === 'close') expect(left.receivedBytes - before).toBeGreaterThanOrEqual(written);
      left.close();
      await bothClosed(pair);
    });
  }

  test('back-pressure holds in both directions', async () => {
    const pair = await pairFor();
    const { client, worker } = await opened(pair);
    client.socket.pause();
    worker.socket.pause();
    const [up, down] = await Promise.all([fillUp(client), fillUp(worker)]);
    expect(up).toBeGreaterThan(0);
    expect(down).toBeGreaterThan(0);
  });
});
