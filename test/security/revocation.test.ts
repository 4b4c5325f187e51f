/**
 * A member that is put out: its certificate would hold for long, and from the moment that any sidecar has the list of
 * revoked keys nobody answers it, calls it or goes on with what runs.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { Revocations, readRevocations, signRevocations } from '../../sidecar/mesh/membership/revocations.ts';
import { MESH_KEY, OTHER_MESH_KEY } from '../support/meshes/members.ts';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { open, send } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const KEY = 'ab'.repeat(32);
const mesh = fromMeshKey(MESH_KEY);

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'revoked-'));
  onTestEnd(() => rmSync(path, { recursive: true }));
  return path;
}

const json = async (member: Member, path: string): Promise<unknown> =>
  JSON.parse((await member.admin(path)).body);

/** One that has begun; whether it was whole, once it has ended. */
async function streamOf(member: Member, service: string): Promise<{ readonly isComplete: Promise<boolean> }> {
  const stream = await open(member.running.outbound, { target: `/service/${service}/stream` });
  const isComplete = new Promise<boolean>((resolve) =>
    stream
      .resume()
      .on('error', () => {}) // 'close' follows
      .on('close', () => resolve(stream.complete)),
  );
  return { isComplete };
}

const put = (member: Member, body: string) =>
  send(member.running.admin, { method: 'PUT', target: '/revoked', body });

describe('a list of revoked keys', () => {
  test('reads back, and counts only as the mesh signed it', () => {
    const keys = fc.uniqueArray(
      fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b).toString('hex')),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(keys, fc.integer({ min: 0, max: 2 ** 47 }), fc.nat(), (revoked, madeMs, at) => {
        const text = signRevocations(mesh, revoked, madeMs);
        const list = readRevocations(mesh, text);
        expect([list?.madeMs, [...(list?.keys ?? [])]]).toStrictEqual([madeMs, [...revoked].sort()]);
        expect(readRevocations(fromMeshKey(OTHER_MESH_KEY), text)).toBeNull();
        const place = 'sidecar-revoked-v1.'.length + (at % (text.length - 'sidecar-revoked-v1.'.length));
        const other = text[place] === 'A' ? 'B' : 'A';
        expect(readRevocations(mesh, text.slice(0, place) + other + text.slice(place + 1))).toBeNull();
        expect(readRevocations(mesh, text.slice(0, place))).toBeNull();
      }),
      { numRuns: 200 },
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        expect(readRevocations(mesh, text)).toBeNull();
        expect(readRevocations(mesh, `sidecar-revoked-v1.${text}`)).toBeNull();
      }),
    );
  });

  test('is not taken back by an older one, and is there after a restart', () => {
    const stateDir = folder();
    const known = new Revocations(mesh, stateDir);
    const older = signRevocations(mesh, [], 1_000);
    expect(known.take(signRevocations(mesh, [KEY], 2_000)).kind).toBe('taken');
    expect(known.take(older).kind).toBe('known');
    expect(known.take(signRevocations(fromMeshKey(OTHER_MESH_KEY), [], 3_000)).kind).toBe('bad');
    for (const each of [known, new Revocations(mesh, stateDir)]) expect(each.has(KEY)).toBe(true);
  });
});

describe('a revoked member', () => {
  test('is put out by all within 5 s of one who has the list: no calls, no records, no stream that goes on', async () => {
    const fleet = new TestMesh();
    const stateDir = folder();
    let closed = 0;
    const worker = await startHttpWorker({
      answer: ({ target }, response) => {
        if (target.startsWith('/stream')) response.once('close', () => closed++).write('begun ');
        else response.end('done');
      },
    });
    const first = await fleet.join({ id: 'first', env: { SIDECAR_STATE_DIR: stateDir } });
    const honest = await fleet.join({ id: 'honest', services: { llm: worker.url } });
    const stolen = await fleet.join({ id: 'stolen', services: { ocr: worker.url } });
    await Promise.all([
      first.knows(['honest', 'stolen']),
      stolen.knows(['honest']),
      honest.knows(['stolen', 'first']),
    ]);
    const key = (await first.peers()).find(({ worker_id }) => worker_id === 'stolen')?.public_key ?? '';
    expect((await stolen.get('llm')).status).toBe(200);
    const fromIt = await streamOf(stolen, 'llm');
    const toIt = await streamOf(honest, 'ocr');

    const older = signRevocations(fromMeshKey(Buffer.from(fleet.meshKey, 'hex')), [], Date.now() - 1_000);
    const list = signRevocations(fromMeshKey(Buffer.from(fleet.meshKey, 'hex')), [key], Date.now());
    const startedMs = performance.now();
    expect((await put(first, list)).status).toBe(200);
    expect([await fromIt.isComplete, await toIt.isComplete]).toStrictEqual([false, false]);
    for (const member of [first, honest]) {
      await eventually(
        `${member.id} has put it out`,
        () => member.peers(),
        (peers) => !peers.some(({ worker_id }) => worker_id === 'stolen'),
      );
    }
    await eventually(
      'the worker is rid of both streams',
      async () => closed,
      (count) => count === 2,
    );
    const tookMs = performance.now() - startedMs;
    note(`put out after ${Math.round(tookMs)} ms`);
    expect(tookMs).toBeLessThan(5_000);
    for (const member of [first, honest]) {
      expect(await json(member, '/peers')).toMatchObject({
        revoked: [{ public_key: key, worker_id: 'stolen' }],
      });
      expect(await json(member, '/explain?service=ocr')).toMatchObject({
        absent: [{ peer: 'stolen', reason: expect.stringContaining('revoked') }],
      });
    }
    expect((await stolen.get('llm')).status).not.toBe(200);
    expect(worker.seen.filter(({ target }) => target === '/').length).toBe(1);
    const refused = await first.get('ocr');
    expect([refused.status, refused.body]).toStrictEqual([503, expect.stringContaining('revoked')]);
    expect((await first.get('llm')).status).toBe(200);
    // One who comes later hears of it from whoever he asks.
    const late = await fleet.join({ id: 'late' });
    await eventually(
      'the late one has the list',
      async () => (await late.admin('/revoked')).body,
      (body) => body.includes(key),
    );
    expect((await late.get('ocr')).status).toBe(503);

    // Lists that are forged, older or without end change nothing.
    const forged = signRevocations(fromMeshKey(OTHER_MESH_KEY), [], Date.now() + 60_000);
    expect((await put(late, forged)).status).toBe(400);
    expect(
      (
        await put(
          late,
          list.replace(/.$/, (last) => (last === 'A' ? 'Q' : 'A')),
        )
      ).status,
    ).toBe(400);
    expect((await put(late, list + 'A'.repeat(1_000_000))).status).toBe(413);
    const rolledBack = await put(late, older);
    expect([rolledBack.status, JSON.parse(rolledBack.body)]).toStrictEqual([
      200,
      { revoked: 1, is_newer: false },
    ]);
    expect((await late.admin('/revoked')).body).toContain(key);
    expect((await late.get('ocr')).status).toBe(503);

    // It is told on its own pages, when its operator gives it the list.
    expect((await put(stolen, list)).status).toBe(200);
    expect(await json(stolen, '/readyz')).toMatchObject({
      ready: false,
      reasons: expect.arrayContaining([expect.objectContaining({ code: 'key_revoked' })]),
    });

    // Who starts anew has it before it hears from anybody.
    await first.running.stop();
    const again = await fleet.join({ id: 'first', env: { SIDECAR_STATE_DIR: stateDir } });
    expect((await again.admin('/revoked')).body).toContain(key);
  });
});
