/**
 * Capabilities choose (the document: "best worker based on load and capabilities"): whole sidecars, one app that asks
 * for what it needs.
 */
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import type { Answer } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const SERVICE = 'llm-inference';

const FLEET = {
  'cpu-1': 'has_gpu=false,vram_gb=0',
  'gpu-16': 'has_gpu=true,gpu_type=RTX 4080,vram_gb=16',
  'gpu-24': 'has_gpu=true,gpu_type=RTX 4090,vram_gb=24',
} as const;

async function fleet(caller: Parameters<TestMesh['join']>[0]): Promise<Member> {
  const mesh = new TestMesh();
  for (const [id, capabilities] of Object.entries(FLEET)) {
    const { url } = await startHttpWorker();
    await mesh.join({ id, services: { [SERVICE]: url }, env: { SIDECAR_CAPABILITIES: capabilities } });
  }
  const member = await mesh.join(caller);
  await member.get(SERVICE);
  await member.knows(Object.keys(FLEET));
  return member;
}

function ask(member: Member, fields: Readonly<Record<string, string>>): Promise<Answer> {
  return member.call({ target: `/service/${SERVICE}/`, headers: fields });
}

async function whoOf(member: Member, fields: Readonly<Record<string, string>>): Promise<Set<string>> {
  const who = new Set<string>();
  for (let i = 0; i < 12; i += 1) {
    const answer = await ask(member, fields);
    expectNamed(answer.status, answer.body).toBe(200);
    who.add(String(answer.headers['sidecar-worker']));
  }
  return who;
}

describe('a request that says what its worker must have', () => {
  test('goes to those alone, is refused with what they lack, and its worker sees none of it', async () => {
    const app = await fleet({ id: 'app' });
    expect(await whoOf(app, { 'sidecar-require': 'vram_gb>=24' })).toStrictEqual(new Set(['gpu-24']));
    expect(await whoOf(app, { 'sidecar-require': 'has_gpu=true, gpu_type!=RTX 4090' })).toStrictEqual(
      new Set(['gpu-16']),
    );
    expect(await whoOf(app, { 'sidecar-prefer': 'gpu_type=RTX 4090' })).toStrictEqual(new Set(['gpu-24']));
    const served = JSON.parse((await ask(app, { 'sidecar-require': 'has_gpu=true' })).body) as object;
    expect(JSON.stringify(served)).not.toMatch(/sidecar-require/);

    const refused = await ask(app, { 'sidecar-require': 'has_gpu=true, vram_gb>=80' });
    expect(refused.status).toBe(503);
    expect(JSON.parse(refused.body)).toMatchObject({
      code: 'requirements_unmet',
      detail: expect.stringMatching(
        /of 3 known workers has_gpu=true is met by 2, vram_gb>=80 is met by 0; the nearest, gpu-\d\d, lacks vram_gb>=80 \(it has \d\d\)/,
      ),
    });
    const slip = await ask(app, { 'sidecar-require': 'vram_gb>80' });
    expect([slip.status, JSON.parse(slip.body)]).toMatchObject([
      400,
      {
        code: 'bad_request',
        detail: expect.stringMatching(/^sidecar-require: "vram_gb>80" is not name=value/),
      },
    ]);

    const explained = await app.admin(
      `/explain?service=${SERVICE}&require=${encodeURIComponent('vram_gb>=24')}`,
    );
    const { chosen, candidates } = JSON.parse(explained.body) as {
      readonly chosen: string;
      readonly candidates: readonly { readonly worker_id: string; readonly because: string | null }[];
    };
    expect(chosen).toBe('gpu-24');
    expect(candidates.find(({ worker_id }) => worker_id === 'gpu-16')?.because).toBe(
      'does not meet vram_gb>=24 (it has 16)',
    );
    expect((await app.admin(`/explain?service=${SERVICE}&prefer=x`)).status).toBe(400);
  });

  test('passes the worker beside it that lacks it, and goes to it again without', async () => {
    const { url } = await startHttpWorker();
    const app = await fleet({
      id: 'app',
      services: { [SERVICE]: { url, require: 'vram_gb>=16', prefer: 'gpu_type=RTX 4090' } },
      env: { SIDECAR_CAPABILITIES: 'has_gpu=false' },
    });
    expectNamed(await whoOf(app, {}), 'by the configuration alone').toStrictEqual(new Set(['gpu-24']));
    expectNamed(await whoOf(app, { 'sidecar-require': 'gpu_type=RTX 4080' }), 'both together').toStrictEqual(
      new Set(['gpu-16']),
    );
    const refused = JSON.parse((await ask(app, { 'sidecar-require': 'vram_gb>=99' })).body) as {
      detail: string;
    };
    expect(refused.detail).toMatch(/of 4 known workers vram_gb>=16 is met by 2, vram_gb>=99 is met by 0/);
  });

  test('is served beside it where that has all of it, unless somebody else has more of what is preferred', async () => {
    const { url } = await startHttpWorker();
    const app = await fleet({
      id: 'app',
      services: { [SERVICE]: url },
      env: { SIDECAR_CAPABILITIES: 'has_gpu=true,vram_gb=16' },
    });
    expect(await whoOf(app, { 'sidecar-require': 'vram_gb>=16' })).toStrictEqual(new Set(['app']));
    expect(await whoOf(app, { 'sidecar-prefer': 'has_gpu=true' })).toStrictEqual(new Set(['app']));
    expect(await whoOf(app, { 'sidecar-prefer': 'vram_gb>=24' })).toStrictEqual(new Set(['gpu-24']));
  });
});
