/** The first request of a sidecar that has just started waits for a worker that can be reached from there. */
import { describe, expect, test } from '@jest/globals';
import { startTlsEdge } from '../support/edges/tls-edge.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import {
  joinedNode,
  RecordWeb,
  startDht,
  startReader,
  startWorker,
  until,
} from '../support/meshes/private-dht.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const CA_FILE = '/ca.pem';
const SERVICE = 'llm-inference';

describe('the first request of a fresh sidecar', () => {
  test('a worker that is ready and out of reach is no answer while another is on its way', async () => {
    const mesh = new TestMesh();
    const edge = await startTlsEdge({ delayMs: 30 });
    const [near, far] = [await startHttpWorker(), await startHttpWorker()];
    await mesh.join({ id: 'on-vpn', services: { [SERVICE]: near.url } });
    const home = await mesh.join({
      id: 'at-home',
      vpnIp: null,
      services: { [SERVICE]: far.url },
      env: { SIDECAR_TUNNEL_URL: edge.url, SIDECAR_INBOUND: '127.0.0.1:0' },
    });
    edge.connector = home.running.inbound;
    for (let n = 0; n < 4; n++) {
      const fresh = await mesh.start({
        id: `fresh-${n}`,
        vpnIp: null,
        env: { SIDECAR_TUNNEL_CA: CA_FILE },
        files: { [CA_FILE]: edge.ca },
      });
      const answer = await fresh.get(SERVICE);
      expectNamed(answer.status, answer.body).toBe(200);
      expect(answer.headers['sidecar-worker']).toBe('at-home');
      const ready = JSON.parse((await fresh.admin('/readyz')).body) as { peers_usable: number };
      expectNamed(ready.peers_usable, 'the one that was reached').toBe(1);
    }
  });

  test('where none can be reached it is told so, each with its reason', async () => {
    const mesh = new TestMesh();
    const near = await startHttpWorker();
    await mesh.join({ id: 'on-vpn', services: { [SERVICE]: near.url } });
    const fresh = await mesh.start({ id: 'fresh', vpnIp: null });
    await fresh.knows(['on-vpn']);
    const { status, body } = await fresh.get(SERVICE);
    expect([status, (JSON.parse(body) as { code: string }).code]).toStrictEqual([503, 'all_ejected']);
    expect(body).toMatch(/no route from here/);
    const ready = JSON.parse((await fresh.admin('/readyz')).body) as {
      peers_usable: number;
      reasons: { code: string }[];
    };
    expect([ready.peers_usable, ready.reasons[0]?.code]).toStrictEqual([0, 'no_usable_peers']);
  });
});

describe('a lookup whose records come from the DHT', () => {
  test('ends for a request with the first worker that answers, not with one that is only known', async () => {
    const [first] = await startDht(3);
    const web = new RecordWeb();
    const silent = await startWorker(web, await joinedNode({ role: 'client', bootstrap: [first.address] }), {
      id: 'silent',
      vpn: false,
    });
    const sound = await startWorker(web, await joinedNode({ role: 'client', bootstrap: [first.address] }), {
      id: 'sound',
      vpn: false,
    });
    let answer = (): void => {};
    const asked: string[] = [];
    const reader = startReader(web, first, {
      firstLookupWaitMs: 60_000,
      prove: (peer) => {
        asked.push(peer.key);
        if (peer.key === silent.key) {
          for (const { health } of peer.routes) health.failed(performance.now());
          return Promise.resolve(false);
        }
        return new Promise((resolve) => {
          answer = () => {
            for (const { health } of peer.routes) health.succeeded(performance.now());
            resolve(true);
          };
        });
      },
    });
    let isFound = false;
    const found = reader.find(SERVICE).then((view) => {
      isFound = true;
      return view;
    });
    await until(() => asked.length === 2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isFound).toBe(false);
    answer();
    expect((await found).kind).toBe('hit');
    expect(reader.table.get(sound.key)?.isReachable(null, performance.now())).toBe(true);
    expect(reader.table.get(silent.key)?.isReachable(null, performance.now())).toBe(false);
  });
});
