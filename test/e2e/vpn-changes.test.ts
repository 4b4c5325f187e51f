/**
 * A VPN that changes under running sidecars: it comes late, starts anew, gets another address, shares its network with
 * a bridge of containers, is IPv6.
 *
 * With real Nebula where its device matters; else the shared network of the namespaces plays the VPN.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect } from '@jest/globals';
import { nebulaReason } from '../support/host/nebula.ts';
import { netnsReason } from '../support/host/netns.ts';
import { type NebulaHost, NebulaMesh } from '../support/meshes/nebula-mesh.ts';
import { type NetnsHost, NetnsMesh } from '../support/meshes/netns-mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { testUnless } from '../support/runner/test-unless.ts';

interface ReadyJson {
  readonly ready: boolean;
  readonly reasons: readonly { readonly code: string; readonly detail: string }[];
}

interface RecordsJson {
  readonly peers: readonly { readonly worker_id: string; readonly vpn_ip: string | null }[];
}

interface RunningJson {
  readonly services: readonly { readonly running: number }[];
}

interface OutstandingJson {
  readonly peers: readonly { readonly figures: { readonly llm?: { readonly outstanding: number } } }[];
}

const DEVICE = 'eth0';

/** An app's host and a worker's, which may begin without its address. */
async function twoHosts(hasAddress: boolean, env: Readonly<Record<string, string>> = {}) {
  const { mesh, hosts } = await NetnsMesh.up(2);
  const [app, worker] = hosts;
  if (app === undefined || worker === undefined) throw new Error('two hosts were asked for');
  const address = mesh.rig.address(worker.number);
  const setAddress = async (change: 'add' | 'del', one = address): Promise<void> => {
    const { stderr, status } = await mesh.rig.exec(
      worker.number,
      ...(['ip', 'address', change, `${one}/16`, 'dev', DEVICE] as const),
    );
    if (status !== 0) throw new Error(stderr);
  };
  if (!hasAddress) await setAddress('del');
  await Promise.all([app.start([]), worker.start(['llm'], env)]);
  return { mesh, app, worker, address, setAddress };
}

/** ms until a request of the app is served, by the worker at this address. */
async function servedAfterMs(app: NetnsHost, address: string): Promise<number> {
  const sinceMs = performance.now();
  await eventually(
    `the app is served by the worker at ${address}`,
    async () => {
      const [{ status }, { peers }] = await Promise.all([app.get('llm'), app.admin<RecordsJson>('/peers')]);
      return { status, addresses: peers.map(({ vpn_ip }) => vpn_ip) };
    },
    ({ status, addresses }) => status === 200 && addresses.includes(address),
  );
  return performance.now() - sinceMs;
}

const reasonsOf = async (host: Pick<NetnsHost, 'admin'>) =>
  (await host.admin<ReadyJson>('/readyz')).reasons.map(({ code }) => code);

describe('a VPN address that comes and goes under a running sidecar', () => {
  testUnless(netnsReason())('comes after the start: said to be waited for, then used both ways', async () => {
    const { app, worker, address, setAddress } = await twoHosts(false);
    expect(await reasonsOf(worker)).toContain('vpn_waiting');
    expect(worker.log()).toContain('no VPN address yet');
    await setAddress('add');
    note(`used ${(await servedAfterMs(app, address)).toFixed(0)} ms after the VPN came up`);
    await eventually(
      'the worker is ready, and waits for no VPN',
      () => worker.admin<ReadyJson>('/readyz'),
      ({ ready, reasons }) => ready && reasons.every(({ code }) => code !== 'vpn_waiting'),
    );
    expect(worker.log()).toContain('the VPN is up');
  });

  testUnless(netnsReason())(
    'becomes another: peers use the new one, and what runs elsewhere lives',
    async () => {
      const { app, worker, address, setAddress } = await twoHosts(true);
      await servedAfterMs(app, address);
      const own = worker.get('llm', '/?ms=3000');
      const far = app.call({ target: '/service/llm/?id=far&mode=delay&ms=120000' });
      const ended = far.then(
        ({ status }) => (status >= 502 ? 'ended' : 'whole'),
        () => 'ended',
      );
      await eventually(
        'the far one runs',
        async () => (await app.admin<OutstandingJson>('/peers')).peers,
        (peers) => peers.some(({ figures }) => figures.llm?.outstanding === 1),
      );
      const next = address.replace(/\d+$/, '99');
      await setAddress('del');
      await setAddress('add', next);
      note(`used ${(await servedAfterMs(app, next)).toFixed(0)} ms after the address changed`);
      expect((await own).status).toBe(200);
      expect(await ended).toBe('ended');
      await eventually(
        'the worker serves none by an address that is gone',
        () => worker.admin<RunningJson>('/pause'),
        ({ services }) => services.every(({ running }) => running === 0),
      );
      expect(worker.log()).toContain('the VPN address is another one now');
    },
  );

  testUnless(netnsReason())('goes: said within seconds; comes back: used again', async () => {
    const { app, worker, address, setAddress } = await twoHosts(true);
    await servedAfterMs(app, address);
    await setAddress('del');
    await eventually(
      'the worker says that it waits for its VPN',
      () => reasonsOf(worker),
      (codes) => codes.includes('vpn_waiting'),
    );
    expect(worker.log()).toContain('the VPN address is gone');
    await setAddress('add');
    note(`used ${(await servedAfterMs(app, address)).toFixed(0)} ms after the address was back`);
  });

  testUnless(netnsReason())('given by its number, it is waited for as well', async () => {
    const { app, worker, address, setAddress } = await twoHosts(false, { SIDECAR_VPN_IP: '10.42.0.13' });
    expect(address).toBe('10.42.0.13');
    expect(await reasonsOf(worker)).toContain('vpn_waiting');
    await setAddress('add');
    await servedAfterMs(app, address);
  });
});

describe('several addresses inside the VPN network', () => {
  async function withBridge(env: Readonly<Record<string, string>>) {
    const { mesh, hosts } = await NetnsMesh.up(2);
    const [app, worker] = hosts;
    if (app === undefined || worker === undefined) throw new Error('two hosts were asked for');
    for (const command of [
      'ip link add cni0 type bridge',
      'ip address add 10.42.7.1/24 dev cni0',
      'ip link set cni0 up',
      // Answers to ARP for the addresses of the asked device alone, as a host whose VPN is a tunnel does.
      'sysctl -qw net.ipv4.conf.all.arp_ignore=1',
    ]) {
      const [program = '', ...args] = command.split(' ');
      await mesh.rig.exec(worker.number, program, ...args);
    }
    await Promise.all([app.start([]), worker.start(['llm'], env)]);
    return { app, worker, address: mesh.rig.address(worker.number) };
  }

  testUnless(netnsReason())(
    'the bridge of a container runtime is not taken, and the choice is said',
    async () => {
      const { app, worker, address } = await withBridge({});
      await servedAfterMs(app, address);
      expect(worker.log()).toMatch(/several addresses lie in the VPN network/);
      expect(worker.log()).toMatch(/10\.42\.7\.1 \(cni0\)/);
    },
  );

  testUnless(netnsReason())('one that is named by its device is taken without a word', async () => {
    const { app, worker, address } = await withBridge({ SIDECAR_VPN_INTERFACE: DEVICE });
    await servedAfterMs(app, address);
    expect(worker.log()).not.toMatch(/several addresses/);
  });
});

describe('a VPN of IPv6 alone', () => {
  testUnless(netnsReason())('peers are found by the DHT over IPv4, and reached by the VPN', async () => {
    const { mesh, hosts } = await NetnsMesh.up(2);
    const [app, worker] = hosts;
    if (app === undefined || worker === undefined) throw new Error('two hosts were asked for');
    for (const { number } of hosts) {
      const added = await mesh.rig.exec(
        number,
        'ip',
        ...`address add fd42::${number}/64 dev ${DEVICE} nodad`.split(' '),
      );
      expect(added).toMatchObject({ status: 0 });
    }
    const env = { SIDECAR_VPN_CIDR: 'fd42::/64' };
    await Promise.all([app.start([], env), worker.start(['llm'], env)]);
    await servedAfterMs(app, `fd42::${worker.number}`);
    expect((await app.get('llm')).headers['sidecar-route']).toBe('vpn');
  });
});

describe('a real Nebula that starts after the sidecar, or anew', () => {
  testUnless(nebulaReason())(
    'late: used within seconds; started anew: used again, nothing sent twice',
    async () => {
      const mesh = await NebulaMesh.up(2);
      const [app, worker] = [mesh.host(1), mesh.host(2)];
      await mesh.rig.killNebula(worker.number);
      await Promise.all([
        app.start({}),
        worker.start({ services: ['alpha'], env: { SIDECAR_INBOUND: '8000' } }),
      ]);
      expect(await reasonsOf(worker)).toContain('vpn_waiting');
      mesh.rig.startNebula(worker.number);
      const served = async (what: string): Promise<void> => {
        const sinceMs = performance.now();
        await eventually(
          `the app is served by VPN ${what}`,
          () => app.get('alpha'),
          ({ status, headers }) => status === 200 && headers['sidecar-route'] === 'vpn',
        );
        note(`used ${(performance.now() - sinceMs).toFixed(0)} ms after Nebula started ${what}`);
      };
      await served('late');
      for (const what of ['anew', 'anew once more']) {
        await mesh.rig.killNebula(worker.number);
        await eventually(
          'the worker has seen that its VPN is gone',
          () => reasonsOf(worker),
          (codes) => codes.includes('vpn_waiting'),
        );
        mesh.rig.startNebula(worker.number);
        await served(what);
      }
      await eventually(
        'the worker has followed',
        () => reasonsOf(worker),
        (codes) => !codes.includes('vpn_waiting'),
      );
      await app.route(worker, 'vpn', 'up');
      const id = 'once';
      const answer = await app.call({ method: 'POST', target: `/service/alpha/?id=${id}`, body: 'x' });
      expectNamed(answer.status, answer.body).toBe(200);
      expect(await worker.seen(id)).toHaveLength(1);
    },
  );
});

const FLAPS = 4;
const FLAP_MS = 3_000;

/** Requests of the app, one after the other, until `stop`; resolves to what did not go well. */
function callSteadily(app: NebulaHost): { stop(): Promise<{ sent: number; failed: readonly string[] }> } {
  let isStopped = false;
  const failed: string[] = [];
  let sent = 0;
  const calling = (async () => {
    while (!isStopped) {
      const method = sent % 2 === 0 ? 'GET' : 'POST';
      const answer = await app.call({
        method,
        target: `/service/alpha/?id=flap-${sent}`,
        ...(method === 'POST' ? { body: 'x' } : {}),
      });
      sent++;
      if (answer.status !== 200) failed.push(`${method} ${answer.status} ${answer.body.slice(0, 300)}`);
      await pause(20);
    }
  })();
  return {
    async stop() {
      isStopped = true;
      await calling;
      return { sent, failed };
    },
  };
}

describe('a real Nebula that flaps', () => {
  testUnless(nebulaReason())(
    'no request is lost that the tunnel could take, none comes twice, and the VPN is used again',
    async () => {
      const mesh = await NebulaMesh.up(2);
      const [app, worker] = [mesh.host(1), mesh.host(2)];
      await Promise.all([app.start({}), worker.start({ services: ['alpha'], hasTunnel: true })]);
      await app.route(worker, 'vpn', 'up');
      const first = await app.get('alpha');
      expectNamed(first.status, first.body).toBe(200);
      const calls = callSteadily(app);
      for (let i = 0; i < FLAPS; i++) {
        mesh.rig.cutVpn(worker.number);
        await pause(FLAP_MS);
        mesh.rig.heal();
        await pause(FLAP_MS);
      }
      const { sent, failed } = await calls.stop();
      note(`${sent} requests while it flapped`);
      expect(failed).toStrictEqual([]);
      for (let i = 1; i < sent; i += 2) expect(await worker.seen(`flap-${i}`)).toHaveLength(1);
      await app.route(worker, 'vpn', 'up');
      expect((await app.get('alpha')).headers['sidecar-route']).toBe('vpn');
    },
  );
});
