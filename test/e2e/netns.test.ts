/**
 * The network rig itself: if a cut were no cut, every test that relies on one would pass for nothing.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import test from 'node:test';
import { skipUnless } from '../support/needs.ts';
import { NetnsRig, netnsReason } from '../support/netns.ts';

const skip = skipUnless(netnsReason());

/** Answers on UDP and TCP port 7000 and says so on stdout when it can. */
const ECHO = `
  import dgram from 'node:dgram'; import net from 'node:net';
  const udp = dgram.createSocket('udp4', (m, from) => udp.send(m, from.port, from.address));
  net.createServer((s) => s.end('tcp')).listen(7000, '0.0.0.0', () => udp.bind(7000, () => console.log('up')));`;

/** Prints "tcp" and "udp" for each of the two that is answered within 1.5 s. */
const ASK = `
  import dgram from 'node:dgram'; import net from 'node:net';
  const host = process.argv[1], seen = [];
  const s = net.connect(7000, host).on('data', () => seen.push('tcp')).on('error', () => {});
  const u = dgram.createSocket('udp4', () => seen.push('udp'));
  u.send('x', 7000, host, () => {});
  const poll = setInterval(() => { if (seen.length === 2) finish(); }, 5);
  const limit = setTimeout(finish, 1500);
  function finish() { clearInterval(poll); clearTimeout(limit); s.destroy(); u.close(); console.log(seen.sort().join(' ')); }`;

async function answers(rig: NetnsRig, from: number, to: number): Promise<string> {
  const args = ['--input-type=module', '-e', ASK, rig.address(to)];
  const { stdout } = await rig.exec(from, process.execPath, ...args);
  return stdout.trim();
}

async function startEcho(rig: NetnsRig, host: number): Promise<ChildProcess> {
  const child = rig.spawn(host, process.execPath, ['--input-type=module', '-e', ECHO]);
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

test('hosts reach each other, a cut is silent, heal undoes it', { skip }, async (t) => {
  const before = Object.keys(networkInterfaces());
  const rig = await NetnsRig.up(3);
  t.after(() => rig.down());
  await startEcho(rig, 2);

  assert.equal(await answers(rig, 1, 2), 'tcp udp');
  rig.blockUdp(2);
  assert.equal(await answers(rig, 1, 2), 'tcp');
  rig.heal();
  assert.equal(await answers(rig, 3, 2), 'tcp udp');
  rig.cut(2);
  assert.equal(await answers(rig, 1, 2), '');
  rig.heal();
  assert.equal(await answers(rig, 1, 2), 'tcp udp');
  assert.deepEqual(Object.keys(networkInterfaces()), before, 'the machine itself got no interface');
});

test('a host sees its own network only', { skip }, async (t) => {
  const rig = await NetnsRig.up(1);
  t.after(() => rig.down());
  const { stdout } = await rig.exec(1, 'ip', '-br', 'address');
  assert.match(stdout, /eth0\S*\s+UP\s+10\.42\.0\.11\/16/);
  const routes = await rig.exec(1, 'ip', 'route');
  assert.equal(routes.stdout.includes('default'), false, 'no way out');
  assert.throws(() => rig.address(2), /no host 2/);
});

test('down ends everything, whatever still runs', { skip }, async () => {
  const rig = await NetnsRig.up(2);
  const child = await startEcho(rig, 1);
  assert.ok(child.pid !== undefined);
  const own = readlinkSync('/proc/self/ns/net');
  assert.notEqual(readlinkSync(`/proc/${child.pid}/ns/net`), own);
  await rig.down();
  assert.equal(child.signalCode, 'SIGKILL');
  await rig.down();
});
