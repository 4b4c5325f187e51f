/**
 * A fleet whose mesh key stays on the operator's machine: what travels between a worker and the operator is of use to
 * nobody who reads it, and to no other worker.
 */
import { Buffer } from 'node:buffer';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import {
  answerJoin,
  makeJoinRequest,
  openJoinAnswer,
  readJoinRequest,
} from '../../sidecar/mesh/membership/join-request.ts';
import { fromMeshKey, memberPart } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { keptSeed, newSeed } from '../../sidecar/mesh/membership/worker-key.ts';
import { MESH_KEY, NOW_MS } from '../support/meshes/members.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { caught } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const mesh = fromMeshKey(MESH_KEY);
const ASKED = { workerId: 'w1', offers: ['llm'], calls: ['*'], days: 30, nowSeconds: NOW_MS / 1000 };
/** The clock by which tests check a configuration is behind. */
const LONG = { days: 3_650, nowSeconds: 1_750_000_000 };

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'join-'));
  onTestEnd(() => rmSync(path, { recursive: true }));
  return path;
}

const bytesOf = (line: string): Buffer => Buffer.from(line.split('.')[1] ?? '', 'base64url');

const messageOf = (act: () => unknown): string => (caught(act) as Error).message;

describe('a worker that joins by request', () => {
  test('gets a certificate for the key that it made, which no line holds', () => {
    const seed = newSeed();
    const request = makeJoinRequest(seed, 'w1');
    const answer = answerJoin(mesh, readJoinRequest(request), ASKED);
    const bundle = openJoinAnswer(answer, seed);
    expect(bundle.secrets).toStrictEqual(memberPart(mesh));
    expect(bundle.certificate).toMatchObject({ workerId: 'w1', offers: ['llm'] });
    for (const line of [request, answer]) {
      const bytes = bytesOf(line);
      const secrets = [seed, MESH_KEY, mesh.signing.secretKey.subarray(0, 32)];
      const known = [mesh.recordKey, mesh.topicKey, mesh.packetKey, mesh.prologue];
      for (const secret of [...secrets, ...known]) expect(bytes.indexOf(secret)).toBe(-1);
    }
  });

  test('the answer opens with its key alone, and not once it was changed anywhere', () => {
    const seed = newSeed();
    const answer = answerJoin(mesh, readJoinRequest(makeJoinRequest(seed, 'w1')), ASKED);
    expect(messageOf(() => openJoinAnswer(answer, newSeed()))).toMatch(/for the key of another worker/);
    const start = answer.indexOf('.') + 1;
    for (let at = start; at < answer.length; at += 13) {
      const changed = answer.slice(0, at) + (answer[at] === 'A' ? 'B' : 'A') + answer.slice(at + 1);
      expect(messageOf(() => openJoinAnswer(changed, seed))).toMatch(/damaged/);
      expect(messageOf(() => openJoinAnswer(answer.slice(0, at), seed))).toMatch(/damaged/);
    }
  });

  test('a request is its maker’s: changed anywhere, or in the name of another key, it is refused', () => {
    const request = makeJoinRequest(newSeed(), 'w1');
    const start = request.indexOf('.') + 1;
    for (let at = start; at < request.length; at += 3) {
      const changed = request.slice(0, at) + (request[at] === 'A' ? 'B' : 'A') + request.slice(at + 1);
      expect(messageOf(() => readJoinRequest(changed))).toMatch(/damaged/);
      expect(messageOf(() => readJoinRequest(request.slice(0, at)))).toMatch(/damaged/);
    }
    const [mine, other] = [bytesOf(request), bytesOf(makeJoinRequest(newSeed(), 'w1'))];
    const stolen = Buffer.concat([other.subarray(0, 32), mine.subarray(32)]).toString('base64url');
    expect(messageOf(() => readJoinRequest(`sidecar-join-v1.${stolen}`))).toMatch(/damaged/);
  });

  test('whatever is given for a request or an answer, it is an error in plain words', () => {
    const seed = newSeed();
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes).toString('base64url')),
    );
    fc.assert(
      fc.property(text, (body) => {
        expect(messageOf(() => readJoinRequest(`sidecar-join-v1.${body}`))).toMatch(/damaged/);
        expect(messageOf(() => openJoinAnswer(`sidecar-cert-v2.${body}`, seed))).toMatch(/damaged/);
      }),
      { numRuns: 500 },
    );
  });

  test('the certificate is of no use without the key in the state directory, nor with that of another', () => {
    const [own, other] = [folder(), folder()];
    const { seed } = keptSeed(own);
    const certBundle = answerJoin(mesh, readJoinRequest(makeJoinRequest(seed, 'w1')), ASKED);
    const open = (stateDir: string | null) =>
      openIdentity({ meshKey: null, certBundle, workerId: null, services: ['llm'], stateDir, nowMs: NOW_MS });
    expect(open(own).certificate.workerKey).toBe(open(own).keyHex);
    expect(messageOf(() => open(null))).toMatch(/set SIDECAR_STATE_DIR/);
    expect(messageOf(() => open(other))).toMatch(/worker\.key is not there/);
    keptSeed(other);
    expect(messageOf(() => open(other))).toMatch(/for the key of another worker/);
  });

  test('a whole fleet works that way: each calls the other, and none can offer what its certificate does not name', async () => {
    const fleet = new TestMesh();
    const secrets = fromMeshKey(Buffer.from(fleet.meshKey, 'hex'));
    const worker = await startHttpWorker();
    const env = (workerId: string, offers: readonly string[]): Record<string, string> => {
      const stateDir = folder();
      const request = readJoinRequest(makeJoinRequest(keptSeed(stateDir).seed, workerId));
      const cert = answerJoin(secrets, request, { workerId, offers, calls: ['*'], ...LONG });
      return { SIDECAR_MESH_KEY: '', SIDECAR_CERT: cert, SIDECAR_STATE_DIR: stateDir };
    };
    const app = await fleet.join({ id: 'app', env: env('app', []) });
    await fleet.join({ id: 'w1', services: { llm: worker.url }, env: env('w1', ['llm']) });
    await app.knows(['w1']);
    const answer = await app.call({ method: 'POST', target: '/service/llm/x', body: '{}' });
    expect([answer.status, answer.headers['sidecar-worker']]).toStrictEqual([200, 'w1']);
    const more = fleet.join({ id: 'w2', services: { ocr: worker.url }, env: env('w2', ['llm']) });
    await expect(more).rejects.toThrow(/does not allow it to offer ocr/);
  });
});
