/** The end of a client's connection: what was written to it arrives, or it is seen to be cut. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import { closeLingering } from '../../sidecar/http/http1/close.ts';
import type { CoarseTimer, CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { isStuck } from '../support/fill-up.ts';
import { Wire } from '../support/wire.ts';

/** Time limits that pass when the test says so. */
class HandDeadlines {
  armed: CoarseTimer | null = null;
  afterMs = 0;
  arm(deadline: CoarseTimer, afterMs: number): void {
    this.armed = deadline;
    this.afterMs = afterMs;
  }
  disarm(): void {
    this.armed = null;
  }
  pass(): void {
    const deadline = this.armed;
    this.armed = null;
    deadline?.onPassed();
  }
  get asDeadlines(): CoarseTimers {
    return this as unknown as CoarseTimers;
  }
}

async function connected(t: { after(end: () => void): void }): Promise<{ socket: net.Socket; client: Wire }> {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = await Wire.connect((server.address() as net.AddressInfo).port);
  const [socket] = (await accepted) as [net.Socket];
  t.after(() => {
    client.close();
    socket.destroy();
    server.close();
  });
  socket.on('error', () => {});
  return { socket, client };
}

/** Writes until the client, which does not read, takes no more; how much that was. */
async function stuff(socket: net.Socket): Promise<number> {
  const piece = Buffer.alloc(65_536, 'x');
  for (let written = piece.length; ; written += piece.length) {
    if (!socket.write(piece) && (await isStuck(socket))) return written;
  }
}

test('a slow reader gets everything, however long ago the connection was closed', async (t) => {
  const { socket, client } = await connected(t);
  client.socket.pause();
  const written = await stuff(socket);
  const timers = new HandDeadlines();
  closeLingering(socket, timers.asDeadlines);
  assert.equal(timers.afterMs, 30_000);
  client.socket.resume();
  assert.equal(await client.ended(), 'end');
  assert.equal(client.receivedBytes, written);
  assert.equal(timers.afterMs, 2_000, 'now the client may end');
  client.finish();
  await once(socket, 'close');
  assert.equal(timers.armed, null);
});

test('one that takes no byte is reset, so that it cannot take the response for whole', async (t) => {
  const { socket, client } = await connected(t);
  client.socket.pause();
  await stuff(socket);
  const timers = new HandDeadlines();
  closeLingering(socket, timers.asDeadlines);
  timers.pass();
  client.socket.resume();
  assert.equal(await client.ended(), 'reset');
});

test('a half-closed client still gets what is left', async (t) => {
  const { socket, client } = await connected(t);
  client.socket.pause();
  const written = await stuff(socket);
  closeLingering(socket, new HandDeadlines().asDeadlines);
  client.finish();
  client.socket.resume();
  assert.equal(await client.ended(), 'end');
  assert.equal(client.receivedBytes, written);
});

test('a client that goes on sending is heard for a while, then cut off', async (t) => {
  const { socket, client } = await connected(t);
  const timers = new HandDeadlines();
  closeLingering(socket, timers.asDeadlines);
  assert.equal(await client.ended(), 'end');
  timers.armed = null;
  client.send('more');
  await once(socket, 'data');
  assert.notEqual(timers.armed, null);
  timers.pass();
  await once(socket, 'close');
});
