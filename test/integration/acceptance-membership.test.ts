/** Membership: who has not the mesh key finds nobody and is refused, also on loopback. */

import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import { type Answer, send } from '../support/wire/http-client.ts';
import { type HttpWorker, startHttpWorker } from '../support/workers/http-worker.ts';

const SERVICE = 'llm-inference';
const TARGET = `/service/${SERVICE}/v1/chat`;

interface Bed {
  readonly mesh: TestMesh;
  readonly worker: HttpWorker;
  readonly gpu: Member;
  readonly cpu: Member;
  /** Public key of the GPU worker. */
  readonly key: string;
}

async function bed(): Promise<Bed> {
  const mesh = new TestMesh();
  const worker = await startHttpWorker();
  const gpu = await mesh.join({ id: 'worker-gpu-001', services: { [SERVICE]: worker.url } });
  const cpu = await mesh.join({ id: 'worker-cpu-001' });
  const [peer] = await cpu.knows(['worker-gpu-001']);
  return { mesh, worker, gpu, cpu, key: String(peer?.public_key) };
}

/** A value of `sidecar-auth` as a worker with this mesh key would make it. */
function proof(
  meshKey: string,
  peerKey: string,
  o: { service?: string; target?: string; nowMs?: number } = {},
): string {
  const identity = openIdentity({
    meshKey: Buffer.from(meshKey, 'hex'),
    certBundle: null,
    workerId: 'somebody',
    services: [],
    stateDir: null,
    nowMs: Date.now(),
  });
  const { service = SERVICE, target = TARGET, nowMs = Date.now() } = o;
  return new RequestAuth(identity).sign({ peerKey, method: 'GET', target, service, nowMs }).header;
}

function codeOf(answer: Answer): string {
  expect(answer.headers['content-type']).toBe('application/problem+json');
  return (JSON.parse(answer.body) as { code: string }).code;
}

describe('a stranger to the mesh', () => {
  describe('at the inbound port, also from loopback', () => {
    const shared = sharedByTests(bed);
    const ask = (headers: Record<string, string> = {}, target = TARGET): Promise<Answer> =>
      send(shared().gpu.running.inbound, { target, headers });

    const STRANGERS: [string, (bed: Bed) => Record<string, string>][] = [
      ['no field', () => ({})],
      ['an empty field', () => ({ 'sidecar-auth': '' })],
      ['nonsense', () => ({ 'sidecar-auth': 'v1 let me in' })],
      ['another mesh key', ({ key }) => ({ 'sidecar-auth': proof(randomBytes(32).toString('hex'), key) })],
      [
        'a proof for another target',
        ({ mesh, key }) => ({ 'sidecar-auth': proof(mesh.meshKey, key, { target: `${TARGET}/other` }) }),
      ],
      [
        'a proof of a minute ago',
        ({ mesh, key }) => ({
          'sidecar-auth': proof(mesh.meshKey, key, { nowMs: Date.now() - 60_000 }),
        }),
      ],
    ];
    for (const [name, headersOf] of STRANGERS) {
      test(`${name} is answered 401, and the worker sees nothing`, async () => {
        const answer = await ask(headersOf(shared()));
        expectNamed(answer.status, answer.body).toBe(401);
        expect(codeOf(answer)).toBe('not_a_member');
        expect(shared().worker.seen).toHaveLength(0);
      });
    }

    for (const target of ['/record', '/state']) {
      test(`${target} is answered 401 without a proof`, async () => {
        expect((await ask({}, target)).status).toBe(401);
      });
    }

    test('a member is served, once for each proof', async () => {
      const { mesh, worker, key } = shared();
      const headers = { 'sidecar-auth': proof(mesh.meshKey, key) };
      const answer = await ask(headers);
      expectNamed(answer.status, answer.body).toBe(200);
      expect(worker.seen).toHaveLength(1);
      expect(worker.seen[0]?.headers['sidecar-auth']).toBe(undefined);
      expectNamed((await ask(headers)).status, 'a replay').toBe(401);
      expect(worker.seen).toHaveLength(1);
    });

    test('/health is answered to anyone', async () => {
      const answer = await ask({}, '/health');
      expect(JSON.parse(answer.body)).toStrictEqual({ status: 'ok', worker_id: 'worker-gpu-001' });
    });

    test('what a member offers is called there only, elsewhere it is answered 421', async () => {
      const { mesh, key } = shared();
      const target = '/service/vision-ocr/x';
      const header = proof(mesh.meshKey, key, { target, service: 'vision-ocr' });
      const answer = await ask({ 'sidecar-auth': header }, target);
      expectNamed(answer.status, answer.body).toBe(421);
      expect(codeOf(answer)).toBe('not_offered_here');
    });
  });

  test('a sidecar of another mesh finds nobody, and says why', async () => {
    const { mesh, worker, gpu, cpu } = await bed();
    const stranger = await mesh.start({
      id: 'stranger',
      meshKey: randomBytes(32).toString('hex'),
      bootstrap: [gpu.running.dht],
    });
    const { status } = await eventually(
      'the stranger says that no node answers, and names the mesh key among the reasons',
      () => stranger.admin('/readyz'),
      ({ body }) => body.includes('dht_unreachable') && body.includes('the same mesh key'),
    );
    expect(status).toBe(503);
    const answer = await stranger.get(SERVICE);
    expect(answer.status).toBe(503);
    expect(codeOf(answer)).toBe('discovery_unavailable');
    expect(await stranger.peers()).toStrictEqual([]);
    expect((await cpu.peers()).map(({ worker_id }) => worker_id)).toStrictEqual(['worker-gpu-001']);
    expect(worker.seen).toHaveLength(0);
  });

  test('no field of membership reaches an app or a worker, and none of an app is passed on', async () => {
    const { worker, cpu } = await bed();
    const answer = await cpu.call({
      target: TARGET,
      headers: {
        'sidecar-auth': 'v1 forged',
        'sidecar-refusal': 'saturated;not_sent',
        'sidecar-expected-queue': '0',
      },
    });
    expectNamed(answer.status, answer.body).toBe(200);
    for (const headers of [answer.headers, worker.seen[0]?.headers ?? {}]) {
      expect(headers['sidecar-auth']).toBe(undefined);
      expect(headers['sidecar-refusal']).toBe(undefined);
    }
  });
});
