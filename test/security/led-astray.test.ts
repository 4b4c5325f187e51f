/**
 * Peers that name addresses which are not theirs: a member's record, introduction or tunnel URL leads the requests of
 * apps, and what a sidecar asks by itself, to services that only this host can reach.
 */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { PeerAddresses } from '../../sidecar/app/peer-addresses.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { dial } from '../../sidecar/http/sockets/dial.ts';
import { HostNames } from '../../sidecar/http/sockets/host-names.ts';
import { configInput } from '../support/generators/config-input.ts';
import { NameServer } from '../support/host/name-server.ts';
import { HostilePeer } from '../support/meshes/hostile-peer.ts';
import type { Place } from '../support/meshes/hostile-stage.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { open, wholeAnswer } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** The VPN of these tests: a part of loopback, so that the rest of it is outside. */
const VPN = { SIDECAR_VPN_CIDR: '127.42.0.0/16', SIDECAR_PROBE_FEW_INTERVAL: '200ms' };
const APP_IP = '127.42.0.2';

interface Internal {
  readonly port: number;
  /** Connections that were made to it. */
  readonly connections: () => number;
}

/** A service that trusts whoever reaches it. */
async function startInternal(host: string): Promise<Internal> {
  let connections = 0;
  const server = net.createServer((socket) => {
    connections += 1;
    socket.on('error', () => {});
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret');
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  onTestEnd(() => server.close());
  return { port: (server.address() as net.AddressInfo).port, connections: () => connections };
}

interface Stage {
  readonly mesh: TestMesh;
  readonly app: Member;
  readonly toApp: Place;
}

async function stage(env: Readonly<Record<string, string>> = {}): Promise<Stage> {
  const mesh = new TestMesh();
  const worker = await startHttpWorker();
  const app = await mesh.start({ id: 'app', vpnIp: APP_IP, env: { ...VPN, ...env } });
  const honest = await mesh.join({ id: 'w1', vpnIp: '127.42.0.3', services: { ocr: worker.url }, env: VPN });
  const key = (await honest.knows(['app'])).find(({ worker_id }) => worker_id === 'app')?.public_key ?? '';
  await app.knows(['w1']);
  return { mesh, app, toApp: { address: app.running.inbound, key } };
}

/** A member whose record says so; resolves when the app's sidecar has read it. */
async function lies({ mesh, app, toApp }: Stage, id: string, said: Partial<WorkerRecord>): Promise<void> {
  const liar = await HostilePeer.start({ id, meshKey: mesh.meshKey, services: [id], host: '127.42.0.66' });
  liar.onRecord = (asked) => asked.answer(200, liar.record(said));
  await liar.introduce(toApp);
  await eventually(
    `${id} was met`,
    () => app.log,
    (log) => log.some(({ message, peer }) => /newcomer/.test(message) && peer === liar.identity.keyHex),
  );
}

const post = (app: Member, service: string) =>
  app.call({
    method: 'POST',
    target: `/service/${service}/x`,
    body: 'private',
    headers: { 'sidecar-deadline-ms': '3000' },
  });

describe('a member that names the address of somebody else', () => {
  test('as its VPN address, outside of the VPN or a port of the caller: nothing is sent there', async () => {
    const internal = await startInternal('127.0.0.1');
    const admin = await startInternal('127.0.0.1');
    const set = await stage({ SIDECAR_ADMIN: `${APP_IP}:${admin.port}` });
    const places: readonly (readonly [string, string, number])[] = [
      ['loopback', '127.0.0.1', internal.port],
      ['metadata', '169.254.169.254', 80],
      ['lan', '192.168.77.1', 6379],
      ['own-inbound', APP_IP, set.app.running.inbound.port],
      ['own-outbound', APP_IP, set.app.running.outbound.port],
      ['own-admin', APP_IP, set.app.running.admin.port],
    ];
    for (const [id, vpn_ip, inbound_port] of places) {
      await lies(set, id, { vpn_ip, inbound_port });
      const answer = await post(set.app, id);
      expectNamed([answer.status, answer.headers['sidecar-attempts']], id).toStrictEqual([503, '0']);
      const [peer] = (await set.app.peers()).filter(({ worker_id }) => worker_id === id);
      expectNamed(peer?.routes ?? [], id).toStrictEqual([]);
    }
    expect(internal.connections()).toBe(0);
    expect(set.app.log.filter(({ message }) => /outside of vpn.cidr/.test(message)).length).toBe(
      places.length,
    );
    expect((await set.app.get('ocr')).status).toBe(200);
  });

  test('as its VPN address, that of an honest worker, and leaves it: what runs there goes on', async () => {
    const mesh = new TestMesh();
    let finish = (): void => {};
    const worker = await startHttpWorker({
      answer: ({ target }, response) => {
        response.write('begun, ');
        if (target.endsWith('/slow')) finish = () => response.end('whole');
        else response.end('short');
      },
    });
    const app = await mesh.start({ id: 'app', vpnIp: APP_IP, env: VPN });
    const honest = await mesh.join({
      id: 'w1',
      vpnIp: '127.42.0.3',
      services: { ocr: worker.url },
      env: VPN,
    });
    const [known] = await honest.knows(['app']);
    const toApp = { address: app.running.inbound, key: known?.public_key ?? '' };
    await app.knows(['w1']);
    const slow = await open(app.running.outbound, { target: '/service/ocr/slow' });
    const whole = wholeAnswer(slow).catch(String);

    const liar = await HostilePeer.start({
      id: 'liar',
      meshKey: mesh.meshKey,
      services: ['x'],
      host: '127.42.0.66',
    });
    const { host, port } = honest.running.inbound;
    const isAt = (id: string, address: string) =>
      eventually(
        `${id} is known at ${address}`,
        () => app.peers(),
        (peers) =>
          peers.some(({ worker_id, routes }) => worker_id === id && routes[0]?.address.includes(address)),
      );
    liar.onRecord = (asked) => asked.answer(200, liar.record({ vpn_ip: host, inbound_port: port }));
    await liar.introduce(toApp);
    await isAt('liar', `${host}:${port}`);
    const refused = async (): Promise<number> => {
      const { body } = await honest.admin('/metrics');
      return Number(/^sidecar_refused_inputs_total\{.*"not_a_member".*\} (\d+)$/m.exec(body)?.[1] ?? 0);
    };
    const before = await refused();
    liar.seq += 1;
    liar.onRecord = (asked) => asked.answer(200, liar.record());
    await liar.introduce(toApp);
    await isAt('liar', '127.42.0.66');
    // The app asks for the liar at the address that it has left, where the honest one refuses that.
    await eventually('it was asked there', refused, (count) => count > before);
    expect((await app.get('ocr')).body).toBe('begun, short');
    finish();
    expect(await whole).toMatchObject({ status: 200, body: 'begun, whole' });
  });

  test('in its introduction: nobody asks there', async () => {
    const internal = await startInternal('127.0.0.1');
    const set = await stage();
    const liar = await HostilePeer.start({
      id: 'liar',
      meshKey: set.mesh.meshKey,
      services: ['x'],
      host: '127.42.0.66',
    });
    await liar.introduce(set.toApp, `127.0.0.1:${internal.port}`);
    // What was begun before has come by then.
    await lies(set, 'afterwards', {});
    expect(internal.connections()).toBe(0);
    expect((await set.app.peers()).some(({ worker_id }) => worker_id === 'liar')).toBe(false);
  });

  test('as its tunnel, by address or by name: no connection is made, and the attempt says which option allows it', async () => {
    const internal = await startInternal('127.0.0.1');
    const set = await stage({ SIDECAR_TUNNEL_ALLOW: '' });
    const hosts = [
      '127.0.0.1',
      'localhost',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[64:ff9b::127.0.0.1]',
      '0.0.0.0',
    ];
    for (const [n, host] of [...hosts, '169.254.169.254', '10.0.0.1', '[fe80::1]', '[fd00::1]'].entries()) {
      const id = `tunnel-${n}`;
      const tunnel_url = `https://${host}:${internal.port}`;
      await lies(set, id, { vpn_ip: null, inbound_port: null, tunnel_url });
      const answer = await post(set.app, id);
      expectNamed([answer.status >= 502, answer.body], host).toStrictEqual([
        true,
        expect.stringContaining('tunnel.allow (SIDECAR_TUNNEL_ALLOW)'),
      ]);
    }
    expect(internal.connections()).toBe(0);
  });

  test('as its tunnel, where tunnel.allow takes it: there it is called', async () => {
    for (const allowed of ['loopback', '127.0.0.1', '127.0.0.0/8,private']) {
      const internal = await startInternal('127.0.0.1');
      const set = await stage({ SIDECAR_TUNNEL_ALLOW: allowed });
      const tunnel_url = `https://localhost:${internal.port}`;
      await lies(set, 'edge', { vpn_ip: null, inbound_port: null, tunnel_url });
      await post(set.app, 'edge');
      expect(internal.connections()).toBeGreaterThan(0);
    }
  });

  test('by a name of DNS that means another address a moment later (rebinding): the one that is connected to counts', async () => {
    const internal = await startInternal('127.0.0.1');
    const server = await NameServer.start();
    onTestEnd(() => server.stop());
    const names = new HostNames({
      hostsFile: '/nowhere',
      resolvConf: '/nowhere',
      nsswitchConf: '/nowhere',
      servers: [server.address],
    });
    const env = { SIDECAR_MESH_KEY: `${'5a'.repeat(31)}01`, SIDECAR_WORKER_ID: 'app' };
    const rules = new PeerAddresses(loadConfig(configInput({ env })).config, []);
    const origin = { scheme: 'https', host: 'edge.example', port: internal.port } as const;
    const outcome = () =>
      new Promise<string>((resolve) => {
        dial(origin, {
          connectMs: 400,
          tls: { ca: null },
          readBuffer: null,
          names,
          whyNot: (address) => rules.whyNot(origin, address),
          onConnected: () => resolve('connected'),
          onFault: ({ detail }) => resolve(detail),
        });
      });
    server.zones.set('edge.example', ['192.0.2.1']);
    expect(await outcome()).not.toContain('tunnel.allow');
    server.zones.set('edge.example', ['127.0.0.1', '::ffff:127.0.0.1', '169.254.169.254']);
    await eventually('the new answer counts', outcome, (detail) => detail.includes('tunnel.allow'));
    expect(internal.connections()).toBe(0);
  });
});
