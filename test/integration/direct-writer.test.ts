/** Writes past the stream of a socket: all bytes, in their order, with back-pressure, whoever takes them. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { DirectWriter } from '../../sidecar/http/sockets/direct-writer.ts';
import { eventually } from '../support/runner/eventually.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

/** More than the system's buffers hold. */
const MUCH_BYTES = 32 * 1024 * 1024;
const PIECE_BYTES = 65_536;

/** Both ends of a connection; the near one is written to, and not read. */
async function connected(): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => void server.close());
  const accepted = once(server, 'connection');
  const far = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  const [near] = (await accepted) as [Socket];
  near.on('error', () => {});
  far.on('error', () => {});
  onTestEnd(() => {
    near.destroy();
    far.destroy();
  });
  return { near, far };
}

/** Counts what the stream itself was given; the first write of a process goes by it. */
function byStream(socket: Socket): { writes: number } {
  const count = { writes: 0 };
  const write = socket._write;
  socket._write = (chunk, encoding, callback) => {
    count.writes += 1;
    write.call(socket, chunk, encoding, callback);
  };
  return count;
}

interface Handle {
  writeBuffer(request: { getAsyncId(): number }, bytes: Buffer): number;
}

function handleOf(socket: Socket): Handle {
  return (socket as unknown as { readonly _handle: Handle })._handle;
}

async function learnt(): Promise<void> {
  const { near, far } = await connected();
  new DirectWriter(near).writeText('first');
  await once(far, 'data');
}

function pieceOf(index: number): Buffer {
  return Buffer.alloc(PIECE_BYTES, index % 251);
}

describe('a direct writer', () => {
  test('hands nothing to the stream where the kernel takes all', async () => {
    await learnt();
    const { near, far } = await connected();
    const stream = byStream(near);
    const writer = new DirectWriter(near);
    expect(writer.writeText('abc\xff')).toBe(true);
    expect(writer.write(Buffer.from('def'))).toBe(true);
    near.end();
    expect(Buffer.concat(await far.toArray()).toString('latin1')).toBe('abc\xffdef');
    expect(stream.writes).toBe(0);
  });

  test('says that there is no more room, then that there is again, and loses and mixes nothing', async () => {
    await learnt();
    const { near, far } = await connected();
    const writer = new DirectWriter(near);
    far.pause();
    const wanted: Buffer[] = [];
    let full = 0;
    let bytes = 0;
    const read = (async () => Buffer.concat(await far.toArray()))();
    while (bytes < MUCH_BYTES) {
      const piece = pieceOf(wanted.length);
      const isText = wanted.length % 3 === 1;
      const sent = isText ? piece.subarray(0, 1 + ((wanted.length * 977) % 16_000)) : piece;
      wanted.push(sent);
      bytes += sent.length;
      const hasRoom = isText ? writer.writeText(sent.toString('latin1')) : writer.write(sent);
      if (hasRoom) continue;
      full += 1;
      expect(writer.isFlushed).toBe(false);
      await once(near, 'drain');
    }
    near.end();
    expect((await read).equals(Buffer.concat(wanted))).toBe(true);
    expect(full).toBeGreaterThan(0);
  });

  test('what the other side does not take is bounded, by the word that there is no more room', async () => {
    await learnt();
    const { near, far } = await connected();
    far.pause();
    const writer = new DirectWriter(near);
    let bytes = 0;
    while (writer.write(pieceOf(0))) bytes += PIECE_BYTES;
    expect(near.writableLength).toBeLessThanOrEqual(PIECE_BYTES);
    expect(bytes).toBeLessThan(MUCH_BYTES);
    expect(writer.isFlushed).toBe(false);
    far.resume();
    await once(near, 'drain');
    await eventually(
      'all has left',
      () => writer.isFlushed,
      (isFlushed) => isFlushed,
    );
  });

  test('what is corked, and what comes behind it, stays in order', async () => {
    await learnt();
    const { near, far } = await connected();
    const writer = new DirectWriter(near);
    near.cork();
    near.write('1');
    writer.writeText('2');
    near.uncork();
    writer.writeText('3');
    near.end();
    expect(Buffer.concat(await far.toArray()).toString()).toBe('123');
  });

  test('an end behind what the kernel has not taken cuts nothing off', async () => {
    await learnt();
    const { near, far } = await connected();
    far.pause();
    const writer = new DirectWriter(near);
    let bytes = PIECE_BYTES;
    while (writer.write(pieceOf(0))) bytes += PIECE_BYTES;
    near.end();
    let read = 0;
    for await (const chunk of far) read += (chunk as Buffer).length;
    expect(read).toBe(bytes);
  });

  test('after the end of the stream, or of the socket, nothing is written and nothing thrown', async () => {
    await learnt();
    const { near, far } = await connected();
    const writer = new DirectWriter(near);
    writer.writeText('all');
    near.end();
    writer.writeText('more');
    expect(Buffer.concat(await far.toArray()).toString()).toBe('all');
    near.destroy();
    writer.writeText('more');
    writer.write(Buffer.from('more'));
    expect(near.destroyed).toBe(true);
  });

  test('uses no write request again that is under way, also where nothing waits in the queue any more', async () => {
    await learnt();
    const { near, far } = await connected();
    far.pause();
    const handle = handleOf(near);
    // As it is when the kernel takes the rest as the request is made, for somebody reads at that moment.
    Object.defineProperty(handle, 'writeQueueSize', { value: 0 });
    const write = handle.writeBuffer;
    handle.writeBuffer = (request, bytes) => {
      if (request.getAsyncId() !== -1) throw new Error('used again: this would end the process');
      return write.call(handle, request, bytes);
    };
    const writer = new DirectWriter(near);
    let bytes = 0;
    while (bytes < MUCH_BYTES && writer.write(pieceOf(0))) bytes += PIECE_BYTES;
    expect(bytes).toBeLessThan(MUCH_BYTES);
    writer.write(pieceOf(0));
    const drained = once(near, 'drain');
    far.resume();
    await drained;
  });

  test('a reset behind what the kernel has not taken is told, though nobody reads or writes', async () => {
    await learnt();
    const { near, far } = await connected();
    const writer = new DirectWriter(near);
    far.pause();
    while (writer.write(pieceOf(0)));
    const told = new Promise<Error>((resolve) => near.once('error', resolve));
    far.resetAndDestroy();
    expect(await told).toMatchObject({ code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) });
  });

  test('a connection that the other side has reset ends with an error of the stream', async () => {
    await learnt();
    const { near, far } = await connected();
    const writer = new DirectWriter(near);
    near.pause();
    const closed = new Promise((resolve) => near.once('close', resolve));
    far.resetAndDestroy();
    await once(far, 'close');
    const write = (): boolean => {
      writer.writeText('into the void');
      return near.destroyed;
    };
    await eventually('the socket is destroyed', write, (isDestroyed) => isDestroyed);
    await closed;
    expect(near.errored).not.toBeNull();
  });
});
