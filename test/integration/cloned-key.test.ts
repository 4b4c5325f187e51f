/** One key in two sidecars, as a copied state directory gives it to them: both find out, one changes, both serve. */

import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

interface Reason {
  readonly code: string;
  readonly detail: string;
}

async function reasons(member: Member): Promise<readonly Reason[]> {
  const { body } = await member.admin('/readyz');
  return (JSON.parse(body) as { reasons: Reason[] }).reasons.filter(
    ({ code }) => code === 'key_in_use_twice',
  );
}

async function keyOf(id: string, knownBy: Member): Promise<string> {
  return (await knownBy.knows([id])).find(({ worker_id }) => worker_id === id)?.public_key ?? '';
}

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cloned-key-'));
  onTestEnd(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function keyIn(dir: string): string {
  return readFileSync(join(dir, 'worker.key'), 'utf8');
}

describe('a copied state directory', () => {
  test('both and a peer say it with both addresses, the younger takes a new key, and both are found', async () => {
    const mesh = new TestMesh();
    const [one, two] = [await startHttpWorker(), await startHttpWorker()];
    const [original, copy] = [join(folder(), 'a'), join(folder(), 'b')];
    const app = await mesh.join({ id: 'app' });
    const a = await mesh.join({
      id: 'gpu',
      services: { ocr: one.url },
      env: { SIDECAR_STATE_DIR: original },
    });
    const key = await keyOf('gpu', app);
    cpSync(original, copy, { recursive: true });
    const former = keyIn(copy);
    const b = await mesh.join({
      id: 'gpu-2',
      services: { ocr: two.url, extra: two.url },
      env: { SIDECAR_STATE_DIR: copy },
    });
    const place = (member: Member): string => `127.0.0.1:${member.running.inbound.port}`;

    const [told] = await eventually(
      'the older one says so',
      () => reasons(a),
      (all) => all.length > 0,
    );
    expect(told?.detail).toContain(place(a));
    expect(told?.detail).toContain(place(b));
    const [ofB] = await eventually(
      'the younger one says so',
      () => reasons(b),
      (all) => all.length > 0,
    );
    expect(ofB?.detail).toContain('has taken a new key');
    for (const member of [a, b]) {
      const line = member.log.find(({ message }) => message.includes('runs with the key of this one'));
      expect([...((line?.addresses as string[] | undefined) ?? [])].sort()).toStrictEqual(
        [place(a), place(b)].sort(),
      );
    }

    await eventually(
      'the app knows both, each under a key of its own',
      () => app.peers(),
      (peers) =>
        peers.some(({ worker_id, public_key }) => worker_id === 'gpu' && public_key === key) &&
        peers.some(({ worker_id, public_key }) => worker_id === 'gpu-2' && public_key !== key),
    );
    expect(keyIn(original)).toBe(former);
    expect(keyIn(copy)).not.toBe(former);
    expect(readFileSync(join(copy, 'worker.key.cloned'), 'utf8')).toBe(former);
    expect((await app.get('extra')).status).toBe(200);
    const served = new Set<string>();
    await eventually(
      'both serve',
      async () => served.add(String((await app.get('ocr')).headers['sidecar-worker'])),
      (names) => names.size === 2,
    );
  });

  test('a certificate in two sidecars cannot be changed by them: both go on saying it', async () => {
    const mesh = new TestMesh();
    const cert = createBundle(fromMeshKey(Buffer.from(mesh.meshKey, 'hex')), {
      workerId: 'gpu',
      offers: ['ocr'],
      calls: ['*'],
      // The configuration of a test is read in June 2025.
      days: 3_650,
      nowSeconds: Date.parse('2025-06-14T00:00:00Z') / 1000,
    });
    const env = { SIDECAR_MESH_KEY: '', SIDECAR_CERT: cert };
    await mesh.join({ id: 'app' });
    const a = await mesh.join({ id: 'gpu', env });
    const b = await mesh.join({ id: 'gpu', env });
    for (const member of [a, b]) {
      const [told] = await eventually(
        `${member.running.inbound.port} says so`,
        () => reasons(member),
        (all) => all.length > 0,
      );
      expect(told?.detail).toContain('Two sidecars run with the key of this sidecar');
    }
  });
});

describe('one life of one key', () => {
  test('a restart at another address is no clone', async () => {
    const mesh = new TestMesh();
    const dir = join(folder(), 'a');
    const app = await mesh.join({ id: 'app' });
    const first = await mesh.join({ id: 'gpu', env: { SIDECAR_STATE_DIR: dir } });
    const key = await keyOf('gpu', app);
    await first.running.stop();
    const again = await mesh.join({ id: 'gpu', env: { SIDECAR_STATE_DIR: dir } });
    await eventually(
      'the app knows its new place',
      () => app.peers(),
      (peers) =>
        peers.some(({ routes }) =>
          routes.some(({ address }) => address.endsWith(`:${again.running.inbound.port}`)),
        ),
    );
    expect((await app.peers()).map(({ public_key }) => public_key)).toStrictEqual([key]);
    expect([await reasons(app), await reasons(again)]).toStrictEqual([[], []]);
  });
});
