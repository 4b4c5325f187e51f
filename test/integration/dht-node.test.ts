/** One node of the private DHT among others, over real UDP on the loopback interface. */
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import HyperDHT from 'hyperdht';
import { SealedUDX } from '../../sidecar/mesh/dht/sealed-udx.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { OTHER_MESH_KEY } from '../support/meshes/members.ts';
import {
  announced,
  joinedNode,
  LOOPBACK,
  SECRETS,
  startDht,
  startNode,
  until,
  untilStatus,
} from '../support/meshes/private-dht.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const TOPIC = Buffer.alloc(32, 7);
const WORKER = { host: LOOPBACK, port: 8_000 };

/** A UDP port of the loopback interface at which nobody answers, for as long as the test runs. */
async function deadAddress(): Promise<{ host: string; port: number }> {
  const socket = createSocket('udp4');
  socket.bind(0, LOOPBACK);
  await once(socket, 'listening');
  onTestEnd(() => socket.close());
  return { host: LOOPBACK, port: socket.address().port };
}

describe('a node of the private DHT', () => {
  test('the first node is alone and says how others join; then both are connected', async () => {
    const first = await startNode({ role: 'bootstrap' });
    const alone = first.status();
    expect(alone.kind).toBe('alone');
    expect(alone.nodes).toBe(0);
    expect(alone.joinLine).toBe(`SIDECAR_BOOTSTRAP=${LOOPBACK}:${first.address.port}`);
    const second = await joinedNode({ bootstrap: [first.address] });
    await untilStatus(first, 'connected');
    expect(second.status().nodes).toBe(1);
    expect(first.nodes(8)).toStrictEqual([second.address]);
  });

  test('a node that has itself as its only bootstrap is the first node', async () => {
    const first = await startNode();
    await first.destroy();
    const node = await startNode({ port: first.address.port, bootstrap: [first.address] });
    expect(node.status().kind).toBe('alone');
  });

  test('announced is found with its address, withdrawn is gone', async () => {
    const [first, second] = await startDht(3);
    const client = await joinedNode({ role: 'client', bootstrap: [first.address] });
    const keyPair = HyperDHT.keyPair();
    const storers = await (second ?? first).announce(TOPIC, keyPair, [WORKER], { clear: false });
    expect(storers).toBe(3);
    for await (const { publicKey, addresses } of client.lookup(TOPIC)) {
      expect(publicKey).toStrictEqual(keyPair.publicKey);
      expect(addresses).toStrictEqual([WORKER]);
    }
    expect((await announced(client, TOPIC)).size).toBe(1);
    await (second ?? first).unannounce(TOPIC, keyPair);
    expect((await announced(client, TOPIC)).size).toBe(0);
  });

  test('a new address replaces the old one when the old one is cleared', async () => {
    const [first] = await startDht(2);
    const keyPair = HyperDHT.keyPair();
    await first.announce(TOPIC, keyPair, [WORKER], { clear: true });
    const moved = { host: LOOPBACK, port: 8_001 };
    await first.announce(TOPIC, keyPair, [moved], { clear: true });
    for await (const { addresses } of first.lookup(TOPIC)) expect(addresses).toStrictEqual([moved]);
  });

  test('a lone node announces, finds itself, and is found by one that joins later', async () => {
    const lone = await startNode();
    const keyPair = HyperDHT.keyPair();
    expect(await lone.announce(TOPIC, keyPair, [WORKER], { clear: true })).toBe(1);
    expect((await announced(lone, TOPIC)).size).toBe(1);
    const newcomer = await joinedNode({ bootstrap: [lone.address] });
    expect((await announced(newcomer, TOPIC)).size).toBe(1);
  });

  test('one dead bootstrap of two delays neither joining nor the end of a lookup', async () => {
    const dead = await deadAddress();
    const first = await startNode({ role: 'bootstrap' });
    await first.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false });
    for (const role of ['client', 'persistent'] as const) {
      const node = await joinedNode({ role, bootstrap: [dead, first.address] });
      expect((await announced(node, TOPIC)).size).toBe(1);
      const states = node.status().bootstrapNodes.map((node) => node.answer);
      expectNamed(states[0], 'the dead one is not even given up yet').toBe('not_asked');
    }
  });

  test('after the bootstrap node is gone the rest find each other, and a new node joins by any of them', async () => {
    const [bootstrap, a, b] = await startDht(4);
    mustHold(a !== undefined && b !== undefined);
    const keyPair = HyperDHT.keyPair();
    await a.announce(TOPIC, keyPair, [WORKER], { clear: false });
    await bootstrap.destroy();
    expect((await announced(b, TOPIC)).size).toBe(1);
    const newcomer = await joinedNode({ bootstrap: [bootstrap.address, b.address] });
    expect((await announced(newcomer, TOPIC)).size).toBe(1);
    const restarted = await joinedNode({ bootstrap: [bootstrap.address], knownNodes: [a.address] });
    expect((await announced(restarted, TOPIC)).size).toBe(1);
    await restarted.announce(Buffer.alloc(32, 8), HyperDHT.keyPair(), [WORKER], { clear: false });
    expect((await announced(b, Buffer.alloc(32, 8))).size).toBe(1);
  });

  test('a node that starts before its bootstrap joins when that comes up, and stores', async () => {
    const probe = await startNode();
    const { port } = probe.address;
    await probe.destroy();
    const early = await startNode({ bootstrap: [{ host: LOOPBACK, port }] });
    expect(early.status().kind).toBe('unreachable');
    const late = await startNode({ role: 'bootstrap', port });
    await untilStatus(early, 'connected');
    expect(await early.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false })).toBe(2);
    expect((await announced(late, TOPIC)).size).toBe(1);
  });

  test('with another mesh key a node reaches nobody and both sides can say so', async () => {
    const [first] = await startDht(2);
    const { packetKey } = fromMeshKey(OTHER_MESH_KEY);
    const stranger = await startNode({ packetKey, bootstrap: [first.address] });
    await until(() => stranger.status().bootstrapNodes[0]?.answer === 'no');
    const status = stranger.status();
    expect(status.kind).toBe('unreachable');
    expect(status.hint).toMatch(
      new RegExp(`UDP to ${LOOPBACK}:${first.address.port} gets no response.*same mesh key`),
    );
    expect(first.status().rejectedDatagrams).toBeGreaterThan(0);
    expect(first.status().hint).toMatch(/datagrams with another mesh key/);
    expect(first.status().nodes).toBe(1);
    expect((await announced(stranger, TOPIC)).size).toBe(0);
  });

  test('a client that reaches nobody cannot announce, with a code that says so', async () => {
    const client = await startNode({ role: 'client', bootstrap: [await deadAddress()] });
    await expect(client.announce(TOPIC, HyperDHT.keyPair(), [], { clear: false })).rejects.toMatchObject({
      code: 'discovery_unavailable',
    });
    await expect(client.mutablePut(HyperDHT.keyPair(), Buffer.from('x'), 1)).rejects.toMatchObject({
      code: 'discovery_unavailable',
    });
    expect(await client.mutableGet(HyperDHT.keyPair().publicKey, 0)).toBe(null);
  });

  test('a mutable value is read by anyone, and not below the wanted seq', async () => {
    const [first] = await startDht(3);
    const client = await joinedNode({ role: 'client', bootstrap: [first.address] });
    const keyPair = HyperDHT.keyPair();
    await client.mutablePut(keyPair, Buffer.from('one'), 100);
    expect(await first.mutableGet(keyPair.publicKey, 100)).toStrictEqual({
      value: Buffer.from('one'),
      seq: 100,
    });
    expect(await first.mutableGet(keyPair.publicKey, 101)).toBe(null);
    await client.mutablePut(keyPair, Buffer.from('older'), 99);
    expectNamed((await first.mutableGet(keyPair.publicKey, 0))?.seq, 'refused, though the put resolved').toBe(
      100,
    );
  });

  test('a name that nobody knows is told from an address that does not answer', async () => {
    const node = await startNode({ bootstrap: [{ host: 'no-such-host.invalid', port: 49_737 }] });
    await until(() => node.status().bootstrapNodes[0]?.answer === 'no_such_name');
    expect(node.status().hint).toMatch(/No address found for the name in no-such-host.invalid:49737/);
  });

  test('a port that is taken, and an address that is not here, are plain errors', async () => {
    const first = await startNode();
    await expect(startNode({ port: first.address.port })).rejects.toThrow(/another program has this port/);
    await expect(startNode({ host: '203.0.113.7' })).rejects.toThrow(/this host has no such address/);
  });

  test('the port of the last run is taken again when it is free, another one when not', async () => {
    const first = await startNode();
    const { port } = first.address;
    const other = await startNode({ preferredPort: port });
    expect(other.address.port).not.toBe(port);
    await first.destroy();
    const again = await startNode({ preferredPort: port });
    expect(again.address.port).toBe(port);
  });

  test('garbage from strangers and from members changes nothing', async () => {
    const [first, second] = await startDht(2);
    mustHold(second !== undefined);
    const bare = createSocket('udp4');
    onTestEnd(() => bare.close());
    const sealed = new SealedUDX(SECRETS.packetKey).createSocket();
    sealed.bind(0, LOOPBACK);
    onTestEnd(() => sealed.close());
    for (let size = 0; size < 1_200; size += 7) {
      const bytes = Buffer.alloc(size, size % 251);
      // The first byte of a request or a reply, so that the rest is decoded.
      if (size > 0) bytes[0] = size % 2 === 0 ? 0b0000_0011 : 0b0001_0011;
      bare.send(bytes, first.address.port, LOOPBACK);
      sealed.trySend(bytes, first.address.port, LOOPBACK);
    }
    await first.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false });
    expect((await announced(second, TOPIC)).size).toBe(1);
  });

  test('destroying a node ends its lookups with a code, and twice is once', async () => {
    const [first, second] = await startDht(2);
    mustHold(second !== undefined);
    const lookup = announced(second, TOPIC).catch((error: { code?: string }) => error.code);
    await Promise.all([second.destroy(), second.destroy()]);
    expect(await lookup).toBe('discovery_unavailable');
    await expect(announced(second, TOPIC)).rejects.toMatchObject({ code: 'discovery_unavailable' });
    expect((await announced(first, TOPIC)).size).toBe(0);
  });

  test('a process with a stopped node ends by itself', async () => {
    const url = (path: string): string => JSON.stringify(new URL(`../../sidecar/${path}`, import.meta.url));
    const script = `
    const { startDhtNode } = await import(${url('mesh/dht/node.ts')});
    const { systemClock } = await import(${url('mesh/clock.ts')});
    const { silentLog } = await import(${url('core/log.ts')});
    const start = (role, bootstrap, port = 0) => startDhtNode({ role, host: '127.0.0.1', port, preferredPort: null,
      bootstrap, knownNodes: [], packetKey: Buffer.alloc(32, 1), storeRules: null, maxAgeMs: 180000, clock: systemClock, log: silentLog });
    const first = await start('bootstrap', []);
    const second = await start('persistent', [first.address, { host: '127.0.0.1', port: 9 }]);
    const client = await start('client', [first.address]);
    await start('persistent', [], first.address.port).catch(() => process.stdout.write('taken '));
    const topic = Buffer.alloc(32, 3);
    void client.announce(topic, (await import('hyperdht')).default.keyPair(), [], { clear: true }).catch(() => {});
    void second.mutableGet(Buffer.alloc(32, 4), 0);
    await Promise.all([first, second, client].map((node) => node.destroy()));
    process.stdout.write('stopped');`;
    const root = new URL('../..', import.meta.url);
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: root });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    const [code] = await once(child, 'close');
    expect(output).toBe('taken stopped');
    expect(code).toBe(0);
  });
});
