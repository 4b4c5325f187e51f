/**
 * A member that means harm as a caller: what it sends to an honest worker's sidecar takes no request of others out of
 * its queue, and leaves nothing behind.
 */
import type { ServerResponse } from 'node:http';
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { HostilePeer } from '../support/meshes/hostile-peer.ts';
import { HostileStage } from '../support/meshes/hostile-stage.ts';
import { eventually } from '../support/runner/eventually.ts';
import { queuedAt } from '../support/workers/holding-worker.ts';

const PATH = '/service/ocr/';

/** A worker of one slot that answers when the test says so, and a member besides whose requests wait in its queue. */
async function queueing(queue: number) {
  const held: { readonly target: string; readonly response: ServerResponse }[] = [];
  const stage = await HostileStage.set({
    services: [],
    worker: { answer: ({ target }, response) => held.push({ target, response }) },
    service: { concurrency: 1, queue },
  });
  const victim = await HostilePeer.start({ id: 'victim', meshKey: stage.mesh.meshKey, services: [] });
  const waits = (count: number): Promise<unknown> =>
    eventually(
      `${count} wait`,
      () => queuedAt({ sidecar: stage.honest }),
      (queued) => queued === count,
    );
  const isBusy = (): Promise<unknown> =>
    eventually(
      'the worker is at it',
      () => held.length,
      (length) => length === 1,
    );
  /** Answers what the worker holds, one by one, until there were so many; what it was asked, in order. */
  const serve = async (count: number): Promise<string[]> => {
    const served: string[] = [];
    while (served.length < count) {
      await eventually(
        'the worker is asked',
        () => held.length,
        (length) => length > 0,
      );
      for (const { target, response } of held.splice(0)) {
        served.push(target);
        response.end('served');
      }
    }
    return served;
  };
  return { stage, victim, waits, isBusy, serve };
}

describe('a member that means harm as a caller', () => {
  test('nobody takes back what another has waiting, nor by a flood of recalls', async () => {
    const { stage, victim, waits, isBusy, serve } = await queueing(10);
    const { hostile, toHonest } = stage;
    const first = victim.ask(toHonest, `${PATH}1`);
    await isBusy();
    const proof = victim.proof(toHonest.key, `${PATH}2`);
    const second = victim.send(toHonest, `${PATH}2`, proof);
    await waits(1);
    const { epoch } = (await victim.ask(toHonest, '/state').then(({ body }) => JSON.parse(body))) as {
      epoch: number;
    };
    const recalled: string[] = [];
    for (const path of ['', `/${epoch}`, '/0', '/9007199254740993']) {
      recalled.push((await hostile.ask(toHonest, `/recall/${proof.nonce}${path}`)).body);
    }
    // The promise of the second is about a request of its own by that name, and keeps nobody else's.
    expect(recalled.map((body) => JSON.parse(body).recalled)).toStrictEqual([false, true, false, false]);
    for (let round = 0; round < 20; round += 1) {
      const flood = Array.from({ length: 50 }, (_, n) => {
        const { nonce } = hostile.proof(toHonest.key, `${PATH}${n}`);
        return hostile.ask(toHonest, `/recall/${nonce}${n % 2 === 0 ? `/${epoch}` : ''}`);
      });
      for (const { status } of await Promise.all(flood)) expect(status).toBe(200);
    }
    await waits(1);
    expect(await serve(2)).toStrictEqual(['/1', '/2']);
    for (const answer of await Promise.all([first, second])) expect(answer.body).toBe('served');
  });

  test('who says that it is under way for ever counts from its first request here', async () => {
    const { stage, victim, waits, isBusy, serve } = await queueing(10);
    const { hostile, toHonest } = stage;
    const answers = [victim.ask(toHonest, `${PATH}1`)];
    await isBusy();
    const turn = async (who: HostilePeer, name: string, underWayMs: string): Promise<void> => {
      answers.push(who.ask(toHonest, `${PATH}${name}`, { 'sidecar-under-way-ms': underWayMs }));
      await waits(answers.length - 1);
    };
    await turn(victim, 'young', '0');
    await turn(victim, 'old', '120000');
    await turn(hostile, 'liar', '999999');
    await turn(hostile, 'no-number', '1e9');
    expect(await serve(5)).toStrictEqual(['/1', '/old', '/young', '/liar', '/no-number']);
    for (const answer of await Promise.all(answers)) expect(answer.body).toBe('served');
  });

  test('ten thousand requests that are left in the queue leave nothing there', async () => {
    const { stage, victim, waits, isBusy, serve } = await queueing(1_100);
    const { hostile, toHonest } = stage;
    const first = victim.ask(toHonest, `${PATH}1`);
    await isBusy();
    const second = victim.ask(toHonest, `${PATH}2`);
    await waits(1);
    const { host, port } = toHonest.address;
    for (let round = 0; round < 10; round += 1) {
      const sockets = Array.from({ length: 1_000 }, () => {
        const proof = hostile.proof(toHonest.key, `${PATH}left`).headers['sidecar-auth'];
        const socket = net.connect({ host, port });
        socket.on('error', () => {});
        socket.write(`GET ${PATH}left HTTP/1.1\r\nHost: honest\r\nsidecar-auth: ${proof}\r\n\r\n`);
        return socket;
      });
      await waits(1_001);
      for (const socket of sockets) socket.destroy();
      await waits(1);
    }
    expect(await serve(2)).toStrictEqual(['/1', '/2']);
    for (const answer of await Promise.all([first, second])) expect(answer.body).toBe('served');
    const { body } = await stage.honest.admin('/metrics');
    expect(body).toMatch(/requests_in_progress{listener="inbound"} 0/);
  });
});
