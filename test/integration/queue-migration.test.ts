/**
 * Requests that wait in the queue of one worker and have their turn at another: taken back and sent there, once, with
 * their body; through whole sidecars. What was begun stays where it is, and nothing is delivered twice or lost.
 */
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import type { Answer } from '../support/wire/http-client.ts';
import { type HoldingWorker, holdingWorker, queuedAt } from '../support/workers/holding-worker.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** Only answers tell of load. */
const NO_PROBES = { SIDECAR_PROBE_FEW_INTERVAL: '10m', SIDECAR_PROBE_MANY_INTERVAL: '10m' };

function gauge(member: Member, name: string, value: number): Promise<unknown> {
  return eventually(
    `${name} of ${member.id} is ${value}`,
    async () => (await member.admin('/metrics')).body.match(new RegExp(`^${name}(?:{[^}]*})? .*$`, 'm'))?.[0],
    (line) => line?.endsWith(` ${value}`) === true,
  );
}

async function moved(app: Member): Promise<number> {
  const { body } = await app.admin('/metrics');
  return Number(/^sidecar_moved_requests_total (\d+)$/m.exec(body)?.[1]);
}

function posts(app: Member, count: number, headers: http.OutgoingHttpHeaders = {}): Promise<Answer>[] {
  return Array.from({ length: count }, (_, n) =>
    app.call({ method: 'POST', target: '/service/infer/', body: `number ${n}`, headers }),
  );
}

async function bed(): Promise<{ app: Member; slow: HoldingWorker; quick: HoldingWorker }> {
  const mesh = new TestMesh();
  const slow = await holdingWorker(mesh, 'slow');
  const quick = await holdingWorker(mesh, 'quick');
  const app = await mesh.join({ id: 'app', env: NO_PROBES });
  await app.get('infer');
  await app.knows(['slow', 'quick']);
  return { app, slow, quick };
}

/** A field by which requests go to this worker; both must be free. */
async function affinityTo(app: Member, { sidecar }: HoldingWorker): Promise<http.OutgoingHttpHeaders> {
  for (let n = 0; n < 100; n++) {
    const headers = { 'sidecar-affinity': `session ${n}` };
    const { headers: got } = await app.call({ target: '/service/infer/', headers });
    if (got['sidecar-worker'] === sidecar.id) return headers;
  }
  throw new Error(`no key leads to ${sidecar.id}`);
}

/** Both slots taken and two in the queues. */
async function allWait({
  slow,
  quick,
}: {
  readonly slow: HoldingWorker;
  readonly quick: HoldingWorker;
}): Promise<void> {
  await eventually(
    'both are busy and two wait',
    async () => [slow.held.length, quick.held.length, (await queuedAt(slow)) + (await queuedAt(quick))],
    ([atSlow, atQuick, waiting]) => atSlow === 1 && atQuick === 1 && waiting === 2,
  );
  // Who has just come is not moved.
  await pause(50);
}

describe('moving a waiting request to another worker', () => {
  test('what waits behind a request that does not end is served by the other worker', async () => {
    const { app, slow, quick } = await bed();
    const answers = posts(app, 4);
    await allWait({ slow, quick });
    const bodies: string[] = [];
    await eventually(
      'the quick one has had three',
      () => {
        const next = quick.held.shift();
        if (next !== undefined) bodies.push(next.body);
        next?.response.end(`did ${next.body}`);
        return bodies.length;
      },
      (count) => count === 3,
    );
    expect(slow.held).toHaveLength(1);
    slow.held[0]?.response.end(`did ${slow.held[0].body}`);
    const got = await Promise.all(answers);
    for (const [n, { status, body }] of got.entries())
      expect([status, body]).toStrictEqual([200, `did number ${n}`]);
    expect([...bodies, slow.held[0]?.body].sort()).toStrictEqual([
      'number 0',
      'number 1',
      'number 2',
      'number 3',
    ]);
    const posted = [...slow.worker.seen, ...quick.worker.seen].filter(({ method }) => method === 'POST');
    expectNamed(posted, 'each was delivered once').toHaveLength(4);

    expect(await moved(app)).toBeGreaterThanOrEqual(1);
    const twice = got.filter(({ headers }) => headers['sidecar-attempts'] === '2');
    expect(twice.length).toBeGreaterThanOrEqual(1);
    for (const { headers } of twice) {
      expect(headers['sidecar-worker']).toBe('quick');
      const id = headers['sidecar-request-id'] as string;
      const { failed_attempts: attempts } = JSON.parse((await app.admin(`/explain?request=${id}`)).body);
      expect(attempts[0].code).toBe('saturated');
      expect(attempts[0].reason).toMatch(/^taken back from its queue: quick serves younger requests/);
    }
    for (const { sidecar } of [slow, quick]) {
      await gauge(sidecar, 'sidecar_worker_in_flight', 0);
      await gauge(sidecar, 'sidecar_worker_queued', 0);
    }
  });

  test('a request with an affinity stays in the queue of its worker, though younger ones are served elsewhere', async () => {
    const { app, slow: there, quick: elsewhere } = await bed();
    const [toThere, toElsewhere] = [await affinityTo(app, there), await affinityTo(app, elsewhere)];
    const faithful = posts(app, 2, toThere);
    await eventually(
      'one is served and one waits',
      async () => [there.held.length, await queuedAt(there)],
      (counts) => counts.join() === '1,1',
    );
    // Much older than what comes now.
    await pause(200);
    const younger = posts(app, 2, toElsewhere);
    await eventually(
      'the younger ones are at the other worker',
      async () => [elsewhere.held.length, await queuedAt(elsewhere), await queuedAt(there)],
      (counts) => counts.join() === '1,1,1',
    );
    for (let n = 0; n < 2; n++) {
      await eventually(
        'a younger one is served',
        () => elsewhere.held.length,
        (count) => count === 1,
      );
      elsewhere.held.shift()?.response.end();
    }
    for (let n = 0; n < 2; n++) {
      await eventually(
        'it is served where it waits',
        () => there.held.length,
        (count) => count === 1,
      );
      there.held.shift()?.response.end();
    }
    for (const { status } of await Promise.all(younger)) expect(status).toBe(200);
    for (const { status, headers } of await Promise.all(faithful)) {
      const { 'sidecar-worker': worker, 'sidecar-attempts': attempts } = headers;
      expect([status, worker, attempts]).toStrictEqual([200, there.sidecar.id, '1']);
    }
    expect(await moved(app)).toBe(0);
  });

  test('a storm with workers that slow down and apps that leave: each POST at most once, none lost', async () => {
    const mesh = new TestMesh();
    const counts = new Map<string, number>();
    let slowest = 0;
    const workers: Member[] = [];
    for (let n = 0; n < 3; n++) {
      const worker = await startHttpWorker({
        answer: ({ method, body }, response) => {
          if (method !== 'POST') {
            response.end('ok');
            return;
          }
          counts.set(body, (counts.get(body) ?? 0) + 1);
          setTimeout(() => response.end(body), n === slowest ? 150 : 15);
        },
      });
      const infer = { url: worker.url, concurrency: 2, queue: 1_000 };
      workers.push(await mesh.join({ id: `worker-${n}`, services: { infer } }));
    }
    const apps = [await mesh.join({ id: 'app-0' }), await mesh.join({ id: 'app-1' })];
    for (const app of apps) {
      await app.get('infer');
      await app.knows(['worker-0', 'worker-1', 'worker-2']);
    }
    const outcomes = Array.from({ length: 600 }, async (_, n) => {
      await pause(n * 3);
      if (n % 200 === 199) slowest = (slowest + 1) % 3;
      const app = apps[n % 2] as Member;
      const id = `post ${n}`;
      return n % 10 === 9 ? await leaves(app, id) : await stays(app, id);
    });
    for (const [n, outcome] of (await Promise.all(outcomes)).entries()) {
      const seen = counts.get(`post ${n}`) ?? 0;
      expectNamed(seen, `post ${n} was delivered ${seen} times`).toBeLessThanOrEqual(1);
      if (n % 10 !== 9) expect([outcome, seen]).toStrictEqual([`200 post ${n}`, 1]);
    }
    const moves = (await moved(apps[0] as Member)) + (await moved(apps[1] as Member));
    note(`${moves} of 600 were moved`);
    expectNamed(moves, 'some were moved').toBeGreaterThan(0);
    for (const worker of workers) {
      await gauge(worker, 'sidecar_worker_in_flight', 0);
      await gauge(worker, 'sidecar_worker_queued', 0);
    }
  });
});

async function stays(app: Member, id: string): Promise<string> {
  const { status, body } = await app.call({ method: 'POST', target: '/service/infer/', body: id });
  return `${status} ${body}`;
}

/** Gives up after 20 ms, wherever the request is then. */
function leaves(app: Member, id: string): Promise<string> {
  const { host, port } = app.running.outbound;
  return new Promise((resolve) => {
    const request = http.request({ host, port, method: 'POST', path: '/service/infer/', agent: false });
    request.on('response', (response) => {
      response.resume();
      response.on('close', () => resolve('answered'));
    });
    request.on('error', () => resolve('left'));
    request.end(id);
    setTimeout(() => request.destroy(), 20);
  });
}
