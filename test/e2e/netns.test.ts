/**
 * The network rig itself: if a cut were no cut, every test that relies on one would pass for nothing.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { describe, expect } from '@jest/globals';
import { NetnsRig, netnsReason } from '../support/host/netns.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const reason = netnsReason();

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
  mustHold(child.stdout);
  await once(child.stdout, 'data');
  return child;
}

describe('the network rig of these tests', () => {
  testUnless(reason)('hosts reach each other, a cut is silent, heal undoes it', async () => {
    const before = Object.keys(networkInterfaces());
    const rig = await NetnsRig.up(3);
    onTestEnd(() => rig.down());
    await startEcho(rig, 2);

    expect(await answers(rig, 1, 2)).toBe('tcp udp');
    rig.blockUdp(2);
    expect(await answers(rig, 1, 2)).toBe('tcp');
    rig.heal();
    expect(await answers(rig, 3, 2)).toBe('tcp udp');
    rig.cut(2);
    expect(await answers(rig, 1, 2)).toBe('');
    rig.heal();
    expect(await answers(rig, 1, 2)).toBe('tcp udp');
    expectNamed(Object.keys(networkInterfaces()), 'the machine itself got no interface').toStrictEqual(
      before,
    );
  });

  testUnless(reason)('a host sees its own network only', async () => {
    const rig = await NetnsRig.up(1);
    onTestEnd(() => rig.down());
    await eventually(
      'its device is up, with its address',
      async () => (await rig.exec(1, 'ip', '-br', 'address')).stdout,
      (stdout) => /eth0\S*\s+UP\s+10\.42\.0\.11\/16/.test(stdout),
    );
    const routes = await rig.exec(1, 'ip', 'route');
    expectNamed(routes.stdout.includes('default'), 'no way out').toBe(false);
    expect(() => rig.address(2)).toThrow(/no host 2/);
  });

  testUnless(reason)('down kills all that still runs in its hosts', async () => {
    const rig = await NetnsRig.up(2);
    const child = await startEcho(rig, 1);
    expect(child.pid).not.toBe(undefined);
    const own = readlinkSync('/proc/self/ns/net');
    expect(readlinkSync(`/proc/${child.pid}/ns/net`)).not.toBe(own);
    await rig.down();
    expect(child.signalCode).toBe('SIGKILL');
    await rig.down();
  });
});
