/**
 * A worker behind a tunnel that is gone, and another in its place: the request that finds the first one gone looks the
 * service up, as the first request of all does, and is answered by the second.
 */
import { describe, expect, test } from '@jest/globals';
import { startTlsEdge, type TlsEdge } from '../support/edges/tls-edge.ts';
import { createCa } from '../support/edges/x509.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const CA_FILE = '/edges.pem';
const SERVICE = 'llm-inference';

interface Bed {
  readonly app: Member;
  /** Of the worker that the app knows. */
  readonly edge: TlsEdge;
  /** Another worker comes. */
  replace(): Promise<void>;
}

async function bed(): Promise<Bed> {
  const mesh = new TestMesh();
  await mesh.join({ id: 'first-node' });
  const ca = createCa();
  const edges = [await startTlsEdge({ delayMs: 5, ca }), await startTlsEdge({ delayMs: 5, ca })] as const;
  const join = async (id: string, edge: TlsEdge): Promise<void> => {
    const worker = await startHttpWorker();
    const services = { [SERVICE]: worker.url };
    const env = { SIDECAR_TUNNEL_URL: edge.url, SIDECAR_INBOUND: '127.0.0.1:0' };
    const member = await mesh.join({ id, vpnIp: null, services, env });
    edge.connector = member.running.inbound;
  };
  await join('old', edges[0]);
  const app = await mesh.start({
    id: 'app',
    vpnIp: null,
    env: { SIDECAR_TUNNEL_CA: CA_FILE },
    files: { [CA_FILE]: ca.cert },
  });
  const { status, body, headers } = await app.get(SERVICE);
  expectNamed([status, headers['sidecar-worker']], body).toStrictEqual([200, 'old']);
  return { app, edge: edges[0], replace: () => join('new', edges[1]) };
}

describe('a service whose only worker is gone', () => {
  test('requests that find that out wait for the one in its place, whatever their method, and share a lookup', async () => {
    const { app, edge, replace } = await bed();
    edge.connector = null;
    await replace();
    const before = (await app.stats()).dht_lookups;
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        app.call({ method: i % 2 === 0 ? 'POST' : 'GET', target: `/service/${SERVICE}/` }),
      ),
    );
    for (const { status, headers, body } of answers)
      expectNamed([status, headers['sidecar-worker']], body).toStrictEqual([200, 'new']);
    expect((await app.stats()).dht_lookups - before).toBe(1);
  }, 60_000);

  test('where nobody is in its place they are told so, and the DHT is not asked for each', async () => {
    const { app, edge } = await bed();
    edge.connector = null;
    const before = (await app.stats()).dht_lookups;
    for (let n = 0; n < 20; n++) expect((await app.get(SERVICE)).status).toBeGreaterThanOrEqual(502);
    expect((await app.stats()).dht_lookups - before).toBeLessThanOrEqual(5);
  }, 60_000);
});
