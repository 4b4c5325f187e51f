/**
 * A host that gets another address: its listener and its DHT node go there, and what is open lives on.
 */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { HttpListener } from '../../sidecar/http/listener.ts';
import { MovingDhtNode } from '../../sidecar/mesh/dht/moving-node.ts';
import { LOOPBACK, NODE_OPTIONS, startDht, startNode, untilStatus } from '../support/meshes/private-dht.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const MOVED = '127.0.0.2';

describe('a listener whose address changes', () => {
  async function connected(host: string, port: number): Promise<net.Socket> {
    const socket = net.connect({ host, port });
    onTestEnd(() => socket.destroy());
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    socket.on('error', () => {});
    return socket;
  }

  test('listens at the new one with its port, and at the old one no more; open connections live', async () => {
    const listener = await HttpListener.bind({ host: LOOPBACK, port: 0 });
    onTestEnd(() => listener.destroy());
    const { port } = listener;
    const before = await connected(LOOPBACK, port);
    await listener.add({ host: MOVED, port });
    listener.remove(LOOPBACK);
    expect(listener.addresses).toStrictEqual([{ host: MOVED, port }]);
    await expect(connected(LOOPBACK, port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await connected(MOVED, port);
    expect(before.destroyed).toBe(false);
  });

  test('the only address is kept, and what is closed listens nowhere again', async () => {
    const listener = await HttpListener.bind({ host: LOOPBACK, port: 0 });
    const { port } = listener;
    listener.remove(LOOPBACK);
    await connected(LOOPBACK, port);
    await listener.destroy();
    await listener.add({ host: MOVED, port });
    await expect(connected(MOVED, port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('a DHT node whose address changes', () => {
  async function mover(bootstrap: { readonly host: string; readonly port: number }, port = 0) {
    const node = await MovingDhtNode.start({ ...NODE_OPTIONS, port, bootstrap: [bootstrap] });
    onTestEnd(() => node.destroy());
    await untilStatus(node, 'connected');
    return node;
  }

  test('stands at the new one with its port, joins by it, and says so to those who announce', async () => {
    const [first] = await startDht(2);
    const node = await mover(first.address);
    const { port } = node.address;
    const healed = new Promise((resolve) => node.onPartitionHealed(resolve));
    await node.moveTo({ role: 'persistent', host: MOVED });
    expect(await healed).toStrictEqual({ isWide: true });
    expect(node.address).toStrictEqual({ host: MOVED, port });
    await untilStatus(node, 'connected');
  });

  test('with a port that is given it lets go of the old place first', async () => {
    const [first] = await startDht(1);
    const { port } = (await startNode({ role: 'client' })).address;
    const node = await mover(first.address, port + 1);
    await node.moveTo({ role: 'client', host: '0.0.0.0' });
    expect(node.address.host).toBe('0.0.0.0');
    await untilStatus(node, 'connected');
  });

  test('an address that this host has not is refused, and the node stays where it is', async () => {
    const [first] = await startDht(1);
    const node = await mover(first.address);
    const { address } = node;
    await expect(node.moveTo({ role: 'persistent', host: '203.0.113.7' })).rejects.toThrow(/no such address/);
    expect(node.address).toStrictEqual(address);
    expect(node.status().kind).toBe('connected');
  });
});
