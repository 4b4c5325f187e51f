/** The end of a client's connection: what was written to it arrives, or it is seen to be cut. */
import { once } from 'node:events';
import net from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { closeLingering } from '../../sidecar/http/http1/close.ts';
import type { CoarseTimer, CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { isStuck } from '../support/wire/fill-up.ts';
import { Wire } from '../support/wire/wire.ts';

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

async function connected(): Promise<{ socket: net.Socket; client: Wire }> {
  const server = net.createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = await Wire.connect((server.address() as net.AddressInfo).port);
  const [socket] = (await accepted) as [net.Socket];
  onTestEnd(() => {
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

describe("closing a client's connection", () => {
  test('a slow reader gets everything, however long ago the connection was closed', async () => {
    const { socket, client } = await connected();
    client.socket.pause();
    const written = await stuff(socket);
    const timers = new HandDeadlines();
    closeLingering(socket, timers.asDeadlines);
    expect(timers.afterMs).toBe(30_000);
    client.socket.resume();
    expect(await client.ended()).toBe('end');
    expect(client.receivedBytes).toBe(written);
    expectNamed(timers.afterMs, 'now the client may end').toBe(2_000);
    client.finish();
    await once(socket, 'close');
    expect(timers.armed).toBe(null);
  });

  test('one that takes no byte is reset, so that it cannot take the response for whole', async () => {
    const { socket, client } = await connected();
    client.socket.pause();
    await stuff(socket);
    const timers = new HandDeadlines();
    closeLingering(socket, timers.asDeadlines);
    timers.pass();
    client.socket.resume();
    expect(await client.ended()).toBe('reset');
  });

  test('a half-closed client still gets what is left', async () => {
    const { socket, client } = await connected();
    client.socket.pause();
    const written = await stuff(socket);
    closeLingering(socket, new HandDeadlines().asDeadlines);
    client.finish();
    client.socket.resume();
    expect(await client.ended()).toBe('end');
    expect(client.receivedBytes).toBe(written);
  });

  test('a client that goes on sending is heard for a while, then cut off', async () => {
    const { socket, client } = await connected();
    const timers = new HandDeadlines();
    closeLingering(socket, timers.asDeadlines);
    expect(await client.ended()).toBe('end');
    timers.armed = null;
    client.send('more');
    await once(socket, 'data');
    expect(timers.armed).not.toBe(null);
    timers.pass();
    await once(socket, 'close');
  });

  test('a client that drips is cut off 30 s after our end, however short its pauses', async () => {
    const { socket, client } = await connected();
    const timers = new HandDeadlines();
    const atMs = performance.now();
    const now = jest.spyOn(performance, 'now').mockReturnValue(atMs);
    onTestEnd(() => now.mockRestore());
    closeLingering(socket, timers.asDeadlines);
    expect(await client.ended()).toBe('end');
    const limits: number[] = [];
    for (const sinceEndMs of [1_900, 27_000, 28_500, 29_900]) {
      now.mockReturnValue(atMs + sinceEndMs);
      client.send('more');
      await once(socket, 'data');
      limits.push(Math.round(timers.afterMs));
    }
    expect(limits).toStrictEqual([2_000, 2_000, 1_500, 100]);
    timers.pass();
    await once(socket, 'close');
  });
});
