/**
 * A home link that loses packets: what opens a connection is tried again long before the kernel would, and a request
 * that waits for its connection goes by any other that becomes free. What was never answered at all still costs no more
 * than before.
 */
import { describe, expect } from '@jest/globals';
import { netnsReason } from '../support/host/netns.ts';
import { NetnsMesh } from '../support/meshes/netns-mesh.ts';
import { note } from '../support/runner/note.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const SERVICE = 'llm-inference';
const BURST = 100;
const LOST_PERCENT = 5;

/** Longer than a connection may take, so that none becomes free for those that wait. */
const SLOW_MS = 1_500;

const ROOM = { SIDECAR_CONCURRENCY: String(BURST), SIDECAR_QUEUE: String(BURST) };

async function pair(): Promise<{ readonly mesh: NetnsMesh; readonly app: Host; readonly worker: Host }> {
  const { mesh, hosts } = await NetnsMesh.up(2);
  const [app, worker] = hosts;
  if (app === undefined || worker === undefined) throw new Error('two hosts');
  await Promise.all([worker.start([SERVICE], ROOM), app.start([])]);
  await app.get(SERVICE);
  await app.knows([worker]);
  return { mesh, app, worker };
}

type Host = Awaited<ReturnType<typeof NetnsMesh.up>>['hosts'][number];

function post(app: Host, delayMs: number, id: string) {
  const target = `/service/${SERVICE}/?mode=delay&ms=${delayMs}&id=${id}`;
  return app.call({ method: 'POST', target, body: '{"p":1}' });
}

describe('a link that loses 5 % of the packets each way', () => {
  testUnless(netnsReason())(
    'fails none of a burst of POSTs, each of which needs a connection of its own',
    async () => {
      const { mesh, app, worker } = await pair();
      mesh.rig.lose(worker.number, LOST_PERCENT);
      const burst = await Promise.all(
        Array.from({ length: BURST }, (_, i) => post(app, SLOW_MS, `slow-${i}`)),
      );
      mesh.rig.heal();
      note(`slowest of ${BURST}: ${Math.round(Math.max(...burst.map(({ tookMs }) => tookMs)))} ms`);
      expect(burst.filter(({ status }) => status !== 200).map(({ body }) => body)).toStrictEqual([]);
    },
    120_000,
  );
});

describe('a network on which no connection can be opened any more', () => {
  testUnless(netnsReason())(
    'a request that waits for one takes that of another request as it becomes free',
    async () => {
      const { mesh, app, worker } = await pair();
      const first = post(app, 600, 'first');
      await post(app, 0, 'second'); // each has a connection of its own now
      const alone = post(app, 600, 'third');
      mesh.rig.blockConnects(worker.number);
      const waits = await post(app, 0, 'waits');
      mesh.rig.heal();
      expect([waits.status, waits.body]).toStrictEqual([200, expect.stringContaining('waits')]);
      await Promise.all([first, alone]);
    },
    120_000,
  );
});
