/** Names over a real DNS server that answers, denies, or falls silent: none holds up another, and none is forgotten. */
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import type net from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { type DialFault, dial } from '../../sidecar/http/sockets/dial.ts';
import { NameFault } from '../../sidecar/http/sockets/dns-client.ts';
import { HostNames } from '../../sidecar/http/sockets/host-names.ts';
import { NameServer } from '../support/host/name-server.ts';
import { eventually } from '../support/runner/eventually.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

interface Bed {
  readonly server: NameServer;
  readonly names: HostNames;
  put(file: 'hosts' | 'resolv.conf' | 'nsswitch.conf', text: string): void;
}

async function bed(files: Readonly<Partial<Record<'hosts' | 'resolv.conf', string>>> = {}): Promise<Bed> {
  const folder = await mkdtemp(join(tmpdir(), 'names-'));
  const server = await NameServer.start();
  onTestEnd(async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  });
  const put: Bed['put'] = (file, text) => writeFileSync(join(folder, file), text);
  put('hosts', files.hosts ?? '');
  put('resolv.conf', files['resolv.conf'] ?? '');
  const names = new HostNames({
    hostsFile: join(folder, 'hosts'),
    resolvConf: join(folder, 'resolv.conf'),
    nsswitchConf: join(folder, 'nsswitch.conf'),
    servers: [server.address],
  });
  return { server, names, put };
}

/** Longer than an answer counts as fresh. */
const outOfDate = (): Promise<void> => pause(1_050);

async function faultOf(asked: unknown): Promise<NameFault> {
  const fault = await Promise.resolve(asked).catch((error: unknown) => error);
  if (!(fault instanceof NameFault)) throw new Error(`resolved: ${JSON.stringify(fault)}`);
  return fault;
}

describe('a name', () => {
  test('has its addresses of both families, by turns', async () => {
    const { names, server } = await bed();
    server.zones.set('edge.example', ['192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2:0:9']);
    const { addresses, staleMs } = await names.resolve('Edge.Example');
    expect([...addresses].sort()).toStrictEqual(['192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2:0:9']);
    expect(addresses[0]?.includes(':')).toBe(!addresses[1]?.includes(':'));
    expect(staleMs).toBe(0);
  });

  test('with IPv6 alone has that', async () => {
    const { names, server } = await bed();
    server.zones.set('six.example', ['2001:db8::6']);
    expect((await names.resolve('six.example')).addresses).toStrictEqual(['2001:db8::6']);
  });

  test('does not wait for a family that is never answered for', async () => {
    const { names, server } = await bed();
    server.losesOtherFamily = true;
    server.zones.set('router.example', ['192.0.2.1']);
    const startedMs = performance.now();
    expect((await names.resolve('router.example')).addresses).toStrictEqual(['192.0.2.1']);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('is asked for once, however many want it, and not again for a second', async () => {
    const { names, server } = await bed();
    server.zones.set('edge.example', ['192.0.2.1']);
    await Promise.all(Array.from({ length: 50 }, () => names.resolve('edge.example')));
    expect(names.resolve('edge.example')).toStrictEqual({ addresses: ['192.0.2.1'], staleMs: 0 });
    expect(server.asked('edge.example')).toBe(2);
  });

  test('that moves is followed at once, though its time to live has not passed', async () => {
    const { names, server } = await bed();
    server.zones.set('worker', ['192.0.2.1']);
    await names.resolve('worker');
    server.zones.set('worker', ['192.0.2.2']);
    names.doubt('worker');
    expect((await names.resolve('worker')).addresses).toStrictEqual(['192.0.2.2']);
  });

  test('is searched for in the domains of this host', async () => {
    const { names, server } = await bed({
      'resolv.conf': 'search ml.svc.cluster.local cluster.local\noptions ndots:5\n',
    });
    server.zones.set('llm.cluster.local', ['192.0.2.1']);
    server.zones.set('t1.example.net', ['192.0.2.2']);
    expect((await names.resolve('llm')).addresses).toStrictEqual(['192.0.2.1']);
    expect((await names.resolve('t1.example.net')).addresses).toStrictEqual(['192.0.2.2']);
  });

  test('that nobody has is said to be none, by whom it was asked', async () => {
    const { names, server } = await bed();
    const fault = await faultOf(names.resolve('nobody.example'));
    expect(fault.kind).toBe('none');
    expect(fault.message).toContain(server.address);
  });

  test('is none once DNS says so, also where it had an address', async () => {
    const { names, server } = await bed();
    server.zones.set('gone.example', ['192.0.2.1']);
    await names.resolve('gone.example');
    server.zones.delete('gone.example');
    names.doubt('gone.example');
    expect((await faultOf(names.resolve('gone.example'))).kind).toBe('none');
  });
});

describe('a resolver that has fallen silent', () => {
  test('holds up neither addresses nor /etc/hosts, nor names that it does answer for', async () => {
    const { names, server } = await bed({ hosts: '127.0.0.1 worker\n' });
    server.others = 'silent';
    server.zones.set('edge.example', ['192.0.2.1']);
    const waiting = Array.from({ length: 20 }, (_, i) => faultOf(names.resolve(`t${i}.example.net`)));
    await eventually(
      'all are being asked for',
      () => server.questions.length,
      (count) => count >= 40,
    );
    expect(names.resolve('192.0.2.9')).toStrictEqual({ addresses: ['192.0.2.9'], staleMs: 0 });
    expect(names.resolve('worker')).toStrictEqual({ addresses: ['127.0.0.1'], staleMs: 0 });
    const startedMs = performance.now();
    expect((await names.resolve('edge.example')).addresses).toStrictEqual(['192.0.2.1']);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    const faults = await Promise.all(waiting);
    expect(new Set(faults.map(({ kind }) => kind))).toStrictEqual(new Set(['silent']));
    expect(faults[0]?.message).toContain(server.address);
  });

  test('takes no address away: the last one is used while it is asked, and then without a wait', async () => {
    const { names, server } = await bed();
    server.zones.set('edge.example', ['192.0.2.1']);
    await names.resolve('edge.example');
    await outOfDate();
    server.zones.set('edge.example', 'silent');
    const startedMs = performance.now();
    const { addresses, staleMs } = await names.resolve('edge.example');
    expect(addresses).toStrictEqual(['192.0.2.1']);
    expect(staleMs).toBeGreaterThan(1_000);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(names.resolve('edge.example')).not.toBeInstanceOf(Promise);
    server.zones.set('edge.example', ['192.0.2.2']);
    await eventually(
      'the new address',
      () => names.resolve('edge.example'),
      (found) => found.addresses[0] === '192.0.2.2' && found.staleMs === 0,
    );
  }, 20_000);

  test('or that fails, takes none away either', async () => {
    const { names, server } = await bed();
    server.zones.set('edge.example', ['192.0.2.1']);
    await names.resolve('edge.example');
    server.zones.set('edge.example', 'failed');
    names.doubt('edge.example');
    expect((await names.resolve('edge.example')).addresses).toStrictEqual(['192.0.2.1']);
  });

  test('is named by the one who waits for it to connect', async () => {
    const { names, server } = await bed();
    server.others = 'silent';
    const fault = await new Promise<DialFault>((onFault) => {
      const address = { host: 't1.example.net', port: 443 };
      dial(address, { connectMs: 200, tls: null, readBuffer: null, names, onConnected: () => {}, onFault });
    });
    expect(fault).toStrictEqual({
      code: 'connect_timeout',
      detail: 't1.example.net was looked up for 200 ms, and DNS does not answer',
      isRefused: false,
    });
  });
});

describe('the files of a host', () => {
  test('are read again when they change', async () => {
    const { names, put } = await bed({ hosts: '192.0.2.1 worker\n' });
    expect(names.resolve('worker')).toStrictEqual({ addresses: ['192.0.2.1'], staleMs: 0 });
    put('hosts', '192.0.2.22 worker\n');
    await eventually(
      'the new address',
      () => names.resolve('worker'),
      (found) => found.addresses[0] === '192.0.2.22',
    );
  });

  test('that cannot be looked at say nothing, and cost no other name anything', async () => {
    const server = await NameServer.start();
    onTestEnd(() => server.stop());
    server.zones.set('edge.example', ['192.0.2.1']);
    const files = { hostsFile: '/dev/null/hosts', resolvConf: '/dev/null/x', nsswitchConf: '/dev/null/x' };
    const names = new HostNames({ ...files, servers: [server.address] });
    expect((await names.resolve('edge.example')).addresses).toStrictEqual(['192.0.2.1']);
  });

  test('name a source that libc alone knows: it is asked where DNS fails, and DNS is blamed where it knows no more', async () => {
    const { names, server, put } = await bed();
    put('nsswitch.conf', 'hosts: files mymachines dns\n');
    server.others = 'failed';
    expect((await faultOf(names.resolve('nobody.invalid'))).kind).toBe('failed');
    server.zones.set(hostname().toLowerCase(), 'failed');
    expect((await names.resolve(hostname())).addresses.length).toBeGreaterThan(0);
  });
});

describe('a connection to a name', () => {
  test('is made at the address that answers, when another one refuses', async () => {
    const { names, server } = await bed();
    const origin = http.createServer().listen(0, '127.0.0.2');
    onTestEnd(() => origin.close());
    await new Promise((resolve) => origin.once('listening', resolve));
    const { port } = origin.address() as net.AddressInfo;
    server.zones.set('edge.example', ['127.0.0.3', '127.0.0.2']);
    const socket = await new Promise<net.Socket>((onConnected, reject) => {
      dial(
        { host: 'edge.example', port },
        {
          connectMs: 5_000,
          tls: null,
          readBuffer: null,
          names,
          onConnected,
          onFault: (fault) => reject(new Error(fault.detail)),
        },
      );
    });
    expect(socket.remoteAddress).toBe('127.0.0.2');
    socket.destroy();
  });

  test('that is refused everywhere says so of each address, and has the name asked for anew', async () => {
    const { names, server } = await bed();
    const closed = http.createServer().listen(0, '127.0.0.2');
    await new Promise((resolve) => closed.once('listening', resolve));
    const { port } = closed.address() as net.AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    server.zones.set('edge.example', ['127.0.0.3', '127.0.0.2']);
    const fault = await new Promise<DialFault>((onFault) => {
      dial(
        { host: 'edge.example', port },
        { connectMs: 5_000, tls: null, readBuffer: null, names, onConnected: () => {}, onFault },
      );
    });
    expect(fault.isRefused).toBe(true);
    expect(fault.detail).toContain('127.0.0.3');
    expect(fault.detail).toContain('127.0.0.2');
    await names.resolve('edge.example');
    expect(server.asked('edge.example')).toBe(4);
  });
});
