/**
 * Sessions: clients of workers that keep state, which know nothing of the mesh, stay with their worker; whole sidecars.
 */
import http from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { type Answer, open, type Sent } from '../support/wire/http-client.ts';
import { http2Client } from '../support/wire/version-clients.ts';
import { type SessionWorker, startSessionWorker } from '../support/workers/session-worker.ts';

const NEVER = new AbortController().signal;
const BY_COOKIE = { session: { cookie: 'sid' } };

interface Place {
  readonly worker: SessionWorker;
  readonly sidecar: Member;
}

interface Fleet {
  readonly mesh: TestMesh;
  readonly places: readonly Place[];
  readonly app: Member;
}

/** Two workers of `tools`, and an app that knows both. */
async function fleet(of: Readonly<Record<string, unknown>> = {}): Promise<Fleet> {
  const mesh = new TestMesh();
  const places: Place[] = [];
  for (const id of ['w1', 'w2']) {
    const worker = await startSessionWorker(id);
    const env = { SIDECAR_DRAIN_ACCEPT: '0s' };
    places.push({
      worker,
      sidecar: await mesh.join({ id, services: { tools: { url: worker.url, ...of } }, env }),
    });
  }
  return { mesh, places, app: await caller(mesh, 'app') };
}

async function caller(mesh: TestMesh, id: string): Promise<Member> {
  const app = await mesh.join({ id });
  await app.call({ target: '/service/tools/', method: 'OPTIONS', headers: { 'mcp-session-id': 'none' } });
  await app.knows(['w1', 'w2']);
  return app;
}

function call(member: Member, sent: Sent = {}, path = '/'): Promise<Answer> {
  return member.call({ method: 'POST', body: '{}', target: `/service/tools${path}`, ...sent });
}

function withId(id: string, more: Readonly<Record<string, string>> = {}): Sent {
  return { headers: { 'mcp-session-id': id, ...more } };
}

/** Begins sessions until each worker has one; id by worker. */
async function oneAtEach(member: Member): Promise<Readonly<Record<string, string>>> {
  const ids: Record<string, string> = {};
  await eventually(
    'a session at each worker',
    async () => {
      const { body, headers } = await call(member);
      ids[body] = String(headers['mcp-session-id']);
      return Object.keys(ids).length;
    },
    (count) => count === 2,
  );
  return ids;
}

async function bound(member: Member, { headers }: Answer): Promise<unknown> {
  const { body } = await member.admin(`/explain?request=${String(headers['sidecar-request-id'])}`);
  return (JSON.parse(body) as { bound: unknown }).bound;
}

function placeOf({ places }: Fleet, name: string): Place {
  const found = places.find(({ sidecar }) => sidecar.id === name);
  mustHold(found !== undefined);
  return found;
}

describe('a client with a session', () => {
  test('stays with its worker, by HTTP/1.1 and HTTP/2, and by another sidecar that has never seen the session', async () => {
    const { mesh, app, places } = await fleet();
    const ids: string[] = [];
    for (let n = 0; n < 8; n += 1) ids.push(String((await call(app)).headers['mcp-session-id']));
    const asked = async (member: Member): Promise<void> => {
      for (const id of ids) {
        const answer = await call(member, withId(id));
        expectNamed([answer.status, answer.body], id).toStrictEqual([200, id.slice(0, 2)]);
      }
    };
    await asked(app);
    await asked(app);
    const h2 = http2Client(app.running.outbound.port);
    for (const id of ids) {
      const { status, body } = await h2.call({ path: '/service/tools/', fields: { 'mcp-session-id': id } })
        .done;
      expect([status, body]).toStrictEqual([200, id.slice(0, 2)]);
    }
    const fresh = await mesh.join({ id: 'other-app' });
    await asked(fresh);
    // The sidecars beside the workers, too: the session of the other one is there.
    for (const { sidecar } of places) await asked(sidecar);
  });

  test('by a cookie that its worker alone has declared, from the first request of a fresh sidecar', async () => {
    const { mesh, app } = await fleet(BY_COOKIE);
    const ids = await oneAtEach(app);
    for (const [name, id] of Object.entries(ids)) {
      const fresh = await mesh.join({ id: `fresh-${name}` });
      for (let n = 0; n < 3; n += 1) {
        const answer = await call(fresh, { headers: { cookie: `theme=dark; sid=${id}` } }, '/page');
        expectNamed([answer.status, answer.body], id).toStrictEqual([200, name]);
      }
    }
  });

  test('upgrades reach the worker of the session, by a field or a cookie', async () => {
    const { app } = await fleet(BY_COOKIE);
    const ids = await oneAtEach(app);
    for (const [name, id] of Object.entries(ids)) {
      const answer = await upgrade(app, { cookie: `sid=${id}` });
      expect(answer).toStrictEqual({ status: 101, worker: name, bytes: name });
    }
  });

  test('is told to nobody else by a service that has declared no sessions', async () => {
    const { app } = await fleet({ session: 'none' });
    const { w1 } = await oneAtEach(app);
    mustHold(w1 !== undefined);
    const seen = new Set<number>();
    await eventually(
      'both workers are asked',
      async () => seen.add((await call(app, withId(w1))).status),
      ({ size }) => size === 2,
    );
    expect(seen).toStrictEqual(new Set([200, 404]));
  });

  test('ends it: then nobody is asked for it any more', async () => {
    const { app } = await fleet();
    const { w1 } = await oneAtEach(app);
    mustHold(w1 !== undefined);
    expect((await call(app, { ...withId(w1), method: 'DELETE' })).status).toBe(204);
    const after = await call(app, withId(w1));
    expect(after.status).toBe(404);
    expect(await bound(app, after)).toMatchObject({ by: 'session', worker_id: null, state: 'unknown' });
  });
});

describe('the worker of a session', () => {
  test('is waited for while it is busy, though another one is free; full, it says so itself', async () => {
    const all = await fleet({ concurrency: 1, queue: 1 });
    const ids = await oneAtEach(all.app);
    const id = String(ids.w1);
    const { worker } = placeOf(all, 'w1');
    const holding = call(all.app, withId(id), '/hold');
    await eventually(
      'its slot is taken',
      () => worker.held.length,
      (count) => count === 1,
    );
    const waiting = call(all.app, withId(id), '/hold');
    await eventually(
      'one waits',
      async () =>
        /^sidecar_worker_queued{[^}]*} (\d+)$/m.exec(
          (await placeOf(all, 'w1').sidecar.admin('/metrics')).body,
        )?.[1],
      (queued) => queued === '1',
    );
    const full = await call(all.app, withId(id), '/hold');
    expect([full.status, JSON.parse(full.body)]).toMatchObject([503, { code: 'saturated' }]);
    worker.held.shift()?.end('first');
    expect((await holding).body).toBe('first');
    await eventually(
      'the next one is there',
      () => worker.held.length,
      (count) => count === 1,
    );
    worker.held.shift()?.end('second');
    expect((await waiting).body).toBe('second');
    expect(placeOf(all, 'w2').worker.strangers).not.toContain(id);
  });

  test('is still reached while it drains, until what runs there has ended; then explain says that it is gone', async () => {
    const all = await fleet();
    const id = String((await oneAtEach(all.app)).w1);
    const { sidecar, worker } = placeOf(all, 'w1');
    const stream = await open(all.app.running.outbound, { target: '/service/tools/events', ...withId(id) });
    const drained = sidecar.running.drain(NEVER);
    await all.app.knows(['w1'], 'draining');
    for (let n = 0; n < 4; n += 1) {
      const answer = await call(all.app, withId(id));
      expectNamed([answer.status, answer.body], 'its own').toStrictEqual([200, 'w1']);
      expect((await call(all.app)).body).toBe('w2');
    }
    worker.streams[0]?.end();
    stream.resume();
    await drained;
    await sidecar.running.stop();
    const after = await call(all.app, withId(id));
    expect([after.status, after.headers['sidecar-worker']]).toStrictEqual([404, 'w2']);
    expect(await bound(all.app, after)).toMatchObject({
      by: 'session',
      worker_id: 'w1',
      because: expect.any(String),
    });
    await eventually(
      'a later request is told',
      async () => bound(all.app, await call(all.app, withId(id))),
      (found) => ['gone', 'unknown'].includes((found as { state: string }).state),
    );
  });
});

describe('sidecar-worker', () => {
  test('names the one worker that may serve the request, its own one or that of a peer', async () => {
    const { app, places } = await fleet();
    for (const { sidecar } of places) {
      for (const member of [app, ...places.map((place) => place.sidecar)]) {
        const answer = await call(member, { headers: { 'sidecar-worker': sidecar.id } });
        expectNamed([answer.status, answer.body], `${sidecar.id} by ${member.id}`).toStrictEqual([
          200,
          sidecar.id,
        ]);
      }
    }
  });

  test('of one that is not there is 404 unknown_worker, of what is no name 400', async () => {
    const { app } = await fleet();
    const gone = await call(app, { headers: { 'sidecar-worker': 'w9' } });
    expect([gone.status, JSON.parse(gone.body)]).toMatchObject([
      404,
      { code: 'unknown_worker', detail: expect.stringMatching(/^w9 is not among the 2 workers/) },
    ]);
    expect(await bound(app, gone)).toMatchObject({ by: 'sidecar-worker', worker_id: 'w9' });
    const slip = await call(app, { headers: { 'sidecar-worker': 'no worker!' } });
    expect([slip.status, JSON.parse(slip.body)]).toMatchObject([400, { code: 'bad_request' }]);
  });
});

describe('sidecar-affinity', () => {
  test('keys in use stay where they are when a worker joins', async () => {
    const { app, mesh } = await fleet();
    const keys = Array.from({ length: 40 }, (_, n) => `user-${n}`);
    const placed = async (): Promise<string[]> => {
      const at: string[] = [];
      for (const key of keys) at.push((await call(app, { headers: { 'sidecar-affinity': key } })).body);
      return at;
    };
    const before = await placed();
    const { url } = await startSessionWorker('w3');
    await mesh.join({ id: 'w3', services: { tools: url } });
    await app.knows(['w3']);
    // One whose worker has more than its share just now goes elsewhere for once, and comes back.
    await eventually('each is where it was', placed, (now) => now.join() === before.join());
    const fresh = Array.from({ length: 40 }, (_, n) => `newcomer-${n}`);
    const seen = new Set<string>();
    for (const key of fresh) seen.add((await call(app, { headers: { 'sidecar-affinity': key } })).body);
    expect(seen).toStrictEqual(new Set(['w1', 'w2', 'w3']));
  });
});

/** Asks for another protocol; what came then. */
function upgrade(
  { running }: Member,
  fields: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly worker: unknown; readonly bytes: string }> {
  const { host, port } = running.outbound;
  const headers = { ...fields, connection: 'Upgrade', upgrade: 'echo' };
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, path: '/service/tools/', headers, agent: false });
    request.on('error', reject);
    request.on('response', ({ statusCode = 0, headers: { 'sidecar-worker': worker } }) => {
      request.destroy();
      resolve({ status: statusCode, worker, bytes: '' });
    });
    request.on('upgrade', ({ headers: { 'sidecar-worker': worker } }, socket, head) => {
      let bytes = head.toString();
      socket.on('data', (piece: Buffer) => {
        bytes += piece.toString();
      });
      socket.on('error', reject);
      socket.on('end', () => {
        socket.end();
        resolve({ status: 101, worker, bytes });
      });
    });
    request.end();
  });
}
