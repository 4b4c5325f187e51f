import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import HyperDHT, { type DhtAddress } from 'hyperdht';
import UDX, { type UdxSocket } from 'udx-native';
import { PACKET_MAC_BYTES, SealedUDX } from '../../sidecar/mesh/dht/sealed-udx.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MESH_KEY, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const HOST = '127.0.0.1';
const { packetKey } = fromMeshKey(MESH_KEY);
const otherKey = fromMeshKey(OTHER_MESH_KEY).packetKey;

function socketOf(udx: UDX): { socket: UdxSocket; port: number } {
  const socket = udx.createSocket();
  socket.bind(0, HOST);
  onTestEnd(() => socket.close());
  return { socket, port: socket.address()?.port ?? 0 };
}

async function received(socket: UdxSocket): Promise<string> {
  const [message] = (await once(socket, 'message')) as [Buffer];
  return message.toString();
}

describe('UDP with a keyed MAC', () => {
  test('members hear each other; what has no right MAC is counted and dropped', async () => {
    const mine = new SealedUDX(packetKey);
    const to = socketOf(mine);
    const member = socketOf(new SealedUDX(packetKey));
    const stranger = socketOf(new UDX());
    const otherMesh = socketOf(new SealedUDX(otherKey));

    for (const bytes of ['xx', 'x'.repeat(17), 'x'.repeat(18), 'x'.repeat(1200)]) {
      await stranger.socket.send(Buffer.from(bytes), to.port, HOST);
    }
    await otherMesh.socket.send(Buffer.from('hello from elsewhere'), to.port, HOST);
    const heard = received(to.socket);
    // Datagrams on loopback keep their order, so what comes first here shows that all before it were dropped.
    await member.socket.send(Buffer.from('sent'), to.port, HOST);
    expect(await heard).toBe('sent');
    expect(mine.rejected).toBe(5);

    const again = received(to.socket);
    member.socket.trySend(Buffer.from('tried'), to.port, HOST);
    expect(await again).toBe('tried');
  });

  test('a datagram that was changed on its way is dropped', async () => {
    const mine = new SealedUDX(packetKey);
    const to = socketOf(mine);
    const middle = socketOf(new UDX());
    const member = socketOf(new SealedUDX(packetKey));
    const caught = once(middle.socket, 'message') as Promise<[Buffer]>;
    member.socket.trySend(Buffer.from('the message'), middle.port, HOST);
    const [wire] = await caught;
    expect(wire.length).toBe('the message'.length + PACKET_MAC_BYTES);
    const heard = received(to.socket);
    for (let i = 0; i < wire.length; i++) {
      const changed = Buffer.from(wire);
      changed[i] = (changed[i] ?? 0) ^ 1;
      await middle.socket.send(changed, to.port, HOST);
    }
    await middle.socket.send(wire, to.port, HOST);
    expect(await heard).toBe('the message');
    expect(mine.rejected).toBe(wire.length);
  });

  test('one byte passes bare: hole punching and address tests stay as they are', async () => {
    const to = socketOf(new SealedUDX(packetKey));
    const stranger = socketOf(new UDX());
    const heard = once(to.socket, 'message') as Promise<[Buffer]>;
    await stranger.socket.send(Buffer.of(0), to.port, HOST);
    const [message] = await heard;
    expect(message.length).toBe(1);
  });

  test('a DHT of members: an announcement is found; a stranger with its address finds and stores nothing', async () => {
    const node = (udx: UDX, bootstrap: DhtAddress[]) => {
      const dht = new HyperDHT({
        bootstrap,
        host: HOST,
        port: [0, 0],
        ephemeral: true,
        udx,
        adaptiveTimeout: { min: 100, max: 200 },
      });
      onTestEnd(() => dht.destroy());
      return dht;
    };
    const storerUdx = new SealedUDX(packetKey);
    const port = await freePort();
    const storer = HyperDHT.bootstrapper(port, HOST, { host: HOST, bootstrap: [], udx: storerUdx });
    onTestEnd(() => storer.destroy());
    await storer.fullyBootstrapped();
    const bootstrap = [{ host: HOST, port }];
    const worker = node(new SealedUDX(packetKey), bootstrap);
    const caller = node(new SealedUDX(packetKey), bootstrap);
    const stranger = node(new UDX(), bootstrap);

    const topic = Buffer.alloc(32, 3);
    const keyPair = HyperDHT.keyPair();
    await worker.announce(topic, keyPair, [{ host: '10.42.0.10', port: 8000 }]).finished();
    const found = async (dht: HyperDHT): Promise<string[]> => {
      const keys: string[] = [];
      for await (const reply of dht.lookup(topic, { retries: 0 })) {
        keys.push(...reply.peers.map((peer) => peer.publicKey.toString('hex')));
      }
      return keys;
    };
    expect(await found(caller)).toStrictEqual([keyPair.publicKey.toString('hex')]);
    expect(await found(stranger)).toStrictEqual([]);
    await expect(stranger.announce(topic, HyperDHT.keyPair(), [], { retries: 0 }).finished()).rejects.toThrow(
      /Too few nodes/,
    );
    expect(await found(caller)).toStrictEqual([keyPair.publicKey.toString('hex')]);
    expect(storerUdx.rejected).toBeGreaterThan(0);
  });
});

/** bootstrapper() takes no port 0. */
async function freePort(): Promise<number> {
  const socket = new UDX().createSocket();
  socket.bind(0, HOST);
  const port = socket.address()?.port ?? 0;
  await socket.close();
  return port;
}
