/** One node of the private DHT among others, over real UDP on the loopback interface. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import test from 'node:test';
import HyperDHT from 'hyperdht';
import { SealedUDX } from '../../sidecar/mesh/dht/sealed-udx.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { OTHER_MESH_KEY } from '../support/members.ts';
import {
  announced,
  joinedNode,
  LOOPBACK,
  SECRETS,
  startDht,
  startNode,
  until,
  untilStatus,
} from '../support/private-dht.ts';

const TOPIC = Buffer.alloc(32, 7);
const WORKER = { host: LOOPBACK, port: 8_000 };

/** A UDP port of the loopback interface at which nobody answers, for as long as the test runs. */
async function deadAddress(t: test.TestContext): Promise<{ host: string; port: number }> {
  const socket = createSocket('udp4');
  socket.bind(0, LOOPBACK);
  await once(socket, 'listening');
  t.after(() => socket.close());
  return { host: LOOPBACK, port: socket.address().port };
}

test('the first node is alone and says how others join; then both are connected', async (t) => {
  const first = await startNode(t, { role: 'bootstrap' });
  const alone = first.status();
  assert.equal(alone.kind, 'alone');
  assert.equal(alone.nodes, 0);
  assert.equal(alone.joinLine, `SIDECAR_BOOTSTRAP=${LOOPBACK}:${first.address.port}`);
  const second = await joinedNode(t, { bootstrap: [first.address] });
  await untilStatus(first, 'connected');
  assert.equal(second.status().nodes, 1);
  assert.deepEqual(first.nodes(8), [second.address]);
});

test('a node that has itself as its only bootstrap is the first node', async (t) => {
  const first = await startNode(t);
  await first.destroy();
  const node = await startNode(t, { port: first.address.port, bootstrap: [first.address] });
  assert.equal(node.status().kind, 'alone');
});

test('announced is found with its address, withdrawn is gone', async (t) => {
  const [first, second] = await startDht(t, 3);
  const client = await joinedNode(t, { role: 'client', bootstrap: [first.address] });
  const keyPair = HyperDHT.keyPair();
  const storers = await (second ?? first).announce(TOPIC, keyPair, [WORKER], { clear: false });
  assert.equal(storers, 3);
  for await (const { publicKey, addresses } of client.lookup(TOPIC)) {
    assert.deepEqual(publicKey, keyPair.publicKey);
    assert.deepEqual(addresses, [WORKER]);
  }
  assert.equal((await announced(client, TOPIC)).size, 1);
  await (second ?? first).unannounce(TOPIC, keyPair);
  assert.equal((await announced(client, TOPIC)).size, 0);
});

test('a new address replaces the old one when the old one is cleared', async (t) => {
  const [first] = await startDht(t, 2);
  const keyPair = HyperDHT.keyPair();
  await first.announce(TOPIC, keyPair, [WORKER], { clear: true });
  const moved = { host: LOOPBACK, port: 8_001 };
  await first.announce(TOPIC, keyPair, [moved], { clear: true });
  for await (const { addresses } of first.lookup(TOPIC)) assert.deepEqual(addresses, [moved]);
});

test('a lone node announces, finds itself, and is found by one that joins later', async (t) => {
  const lone = await startNode(t);
  const keyPair = HyperDHT.keyPair();
  assert.equal(await lone.announce(TOPIC, keyPair, [WORKER], { clear: true }), 1);
  assert.equal((await announced(lone, TOPIC)).size, 1);
  const newcomer = await joinedNode(t, { bootstrap: [lone.address] });
  assert.equal((await announced(newcomer, TOPIC)).size, 1);
});

test('one dead bootstrap of two delays neither joining nor the end of a lookup', async (t) => {
  const dead = await deadAddress(t);
  const first = await startNode(t, { role: 'bootstrap' });
  await first.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false });
  for (const role of ['client', 'persistent'] as const) {
    const node = await joinedNode(t, { role, bootstrap: [dead, first.address] });
    assert.equal((await announced(node, TOPIC)).size, 1);
    const states = node.status().seeds.map((seed) => seed.answer);
    assert.equal(states[0], 'not_asked', 'the dead one is not even given up yet');
  }
});

test('after the bootstrap node is gone the rest find each other, and a new node joins by any of them', async (t) => {
  const [bootstrap, a, b] = await startDht(t, 4);
  assert.ok(a !== undefined && b !== undefined);
  const keyPair = HyperDHT.keyPair();
  await a.announce(TOPIC, keyPair, [WORKER], { clear: false });
  await bootstrap.destroy();
  assert.equal((await announced(b, TOPIC)).size, 1);
  const newcomer = await joinedNode(t, { bootstrap: [bootstrap.address, b.address] });
  assert.equal((await announced(newcomer, TOPIC)).size, 1);
  const restarted = await joinedNode(t, { bootstrap: [bootstrap.address], knownNodes: [a.address] });
  assert.equal((await announced(restarted, TOPIC)).size, 1);
  await restarted.announce(Buffer.alloc(32, 8), HyperDHT.keyPair(), [WORKER], { clear: false });
  assert.equal((await announced(b, Buffer.alloc(32, 8))).size, 1);
});

test('a node that starts before its bootstrap joins when that comes up, and stores', async (t) => {
  const probe = await startNode(t);
  const { port } = probe.address;
  await probe.destroy();
  const early = await startNode(t, { bootstrap: [{ host: LOOPBACK, port }] });
  assert.equal(early.status().kind, 'unreachable');
  const late = await startNode(t, { role: 'bootstrap', port });
  await untilStatus(early, 'connected');
  assert.equal(await early.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false }), 2);
  assert.equal((await announced(late, TOPIC)).size, 1);
});

test('with another mesh key a node reaches nobody and both sides can say so', async (t) => {
  const [first] = await startDht(t, 2);
  const { packetKey } = fromMeshKey(OTHER_MESH_KEY);
  const stranger = await startNode(t, { packetKey, bootstrap: [first.address] });
  await until(() => stranger.status().seeds[0]?.answer === 'no');
  const status = stranger.status();
  assert.equal(status.kind, 'unreachable');
  assert.match(
    status.hint,
    new RegExp(`UDP to ${LOOPBACK}:${first.address.port} gets no response.*same mesh key`),
  );
  assert.ok(first.status().rejectedDatagrams > 0);
  assert.match(first.status().hint, /datagrams with another mesh key/);
  assert.equal(first.status().nodes, 1);
  assert.equal((await announced(stranger, TOPIC)).size, 0);
});

test('a client that reaches nobody cannot announce, with a code that says so', async (t) => {
  const client = await startNode(t, { role: 'client', bootstrap: [await deadAddress(t)] });
  await assert.rejects(client.announce(TOPIC, HyperDHT.keyPair(), [], { clear: false }), {
    code: 'discovery_unavailable',
  });
  await assert.rejects(client.mutablePut(HyperDHT.keyPair(), Buffer.from('x'), 1), {
    code: 'discovery_unavailable',
  });
  assert.equal(await client.mutableGet(HyperDHT.keyPair().publicKey, 0), null);
});

test('a mutable value is read by anyone, and not below the wanted seq', async (t) => {
  const [first] = await startDht(t, 3);
  const client = await joinedNode(t, { role: 'client', bootstrap: [first.address] });
  const keyPair = HyperDHT.keyPair();
  await client.mutablePut(keyPair, Buffer.from('one'), 100);
  assert.deepEqual(await first.mutableGet(keyPair.publicKey, 100), { value: Buffer.from('one'), seq: 100 });
  assert.equal(await first.mutableGet(keyPair.publicKey, 101), null);
  await client.mutablePut(keyPair, Buffer.from('older'), 99);
  assert.equal((await first.mutableGet(keyPair.publicKey, 0))?.seq, 100, 'refused, though the put resolved');
});

test('a name that nobody knows is told from an address that does not answer', async (t) => {
  const node = await startNode(t, { bootstrap: [{ host: 'no-such-host.invalid', port: 49_737 }] });
  await until(() => node.status().seeds[0]?.answer === 'no_such_name');
  assert.match(node.status().hint, /No address found for the name in no-such-host.invalid:49737/);
});

test('a port that is taken, and an address that is not here, are plain errors', async (t) => {
  const first = await startNode(t);
  await assert.rejects(startNode(t, { port: first.address.port }), /another program has this port/);
  await assert.rejects(startNode(t, { host: '203.0.113.7' }), /this host has no such address/);
});

test('the port of the last run is taken again when it is free, another one when not', async (t) => {
  const first = await startNode(t);
  const { port } = first.address;
  const other = await startNode(t, { preferredPort: port });
  assert.notEqual(other.address.port, port);
  await first.destroy();
  const again = await startNode(t, { preferredPort: port });
  assert.equal(again.address.port, port);
});

test('garbage from strangers and from members changes nothing', async (t) => {
  const [first, second] = await startDht(t, 2);
  assert.ok(second !== undefined);
  const bare = createSocket('udp4');
  t.after(() => bare.close());
  const sealed = new SealedUDX(SECRETS.packetKey).createSocket();
  sealed.bind(0, LOOPBACK);
  t.after(() => sealed.close());
  for (let size = 0; size < 1_200; size += 7) {
    const bytes = Buffer.alloc(size, size % 251);
    // The first byte of a request or a reply, so that the rest is decoded.
    if (size > 0) bytes[0] = size % 2 === 0 ? 0b0000_0011 : 0b0001_0011;
    bare.send(bytes, first.address.port, LOOPBACK);
    sealed.trySend(bytes, first.address.port, LOOPBACK);
  }
  await first.announce(TOPIC, HyperDHT.keyPair(), [WORKER], { clear: false });
  assert.equal((await announced(second, TOPIC)).size, 1);
});

test('destroying a node ends its lookups with a code, and twice is once', async (t) => {
  const [first, second] = await startDht(t, 2);
  assert.ok(second !== undefined);
  const lookup = announced(second, TOPIC).catch((error: { code?: string }) => error.code);
  await Promise.all([second.destroy(), second.destroy()]);
  assert.equal(await lookup, 'discovery_unavailable');
  await assert.rejects(announced(second, TOPIC), { code: 'discovery_unavailable' });
  assert.equal((await announced(first, TOPIC)).size, 0);
});

test('a process with a stopped node ends by itself', async () => {
  const url = (path: string): string => JSON.stringify(new URL(`../../sidecar/${path}`, import.meta.url));
  const script = `
    const { startDhtNode } = await import(${url('mesh/dht/node.ts')});
    const { systemClock } = await import(${url('mesh/clock.ts')});
    const { silentLog } = await import(${url('core/log.ts')});
    const start = (role, bootstrap, port = 0) => startDhtNode({ role, host: '127.0.0.1', port, preferredPort: null,
      bootstrap, knownNodes: [], packetKey: Buffer.alloc(32, 1), maxAgeMs: 180000, clock: systemClock, log: silentLog });
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
  assert.equal(output, 'taken stopped');
  assert.equal(code, 0);
});
