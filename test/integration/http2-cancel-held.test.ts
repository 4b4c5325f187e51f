/** The app cancels an upload that a worker does not read, in both versions on each hop: nothing is left of it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually } from '../support/eventually.ts';
import type { Member } from '../support/mesh.ts';
import type { Call } from '../support/version-clients.ts';
import { startVersionMesh } from '../support/version-mesh.ts';

/** Not noticed, it would take until the idle time-out of minutes. */
const NOTICED_MS = 3_000;
const PIECE = Buffer.alloc(65_536);
const SILENCE_MS = 400;

/** Writes until nobody takes any more. */
async function fill(call: Call): Promise<void> {
  for (;;) {
    if (call.write(PIECE)) continue;
    const isDrained = await Promise.race([
      call.drained().then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), SILENCE_MS)),
    ]);
    if (!isDrained) return;
  }
}

async function inProgress(member: Member): Promise<number> {
  const { body } = await member.admin('/metrics');
  const gauges = /^sidecar_(?:requests_in_progress|worker_in_flight)\{[^}]*\} (\d+)/gm;
  return [...body.matchAll(gauges)].reduce((sum, [, count]) => sum + Number(count), 0);
}

test('an upload that stands still is cancelled', async (t) => {
  const { ways, caller, called } = await startVersionMesh(t);
  const all = async (): Promise<number> => (await inProgress(caller)) + (await inProgress(called));
  for (const { name, client, at } of ways) {
    await t.test(name, async (t) => {
      const call = client.call({ method: 'POST', path: at('/sink'), body: true });
      await fill(call);
      assert.equal(await all(), 3, 'outbound, inbound, worker');
      const startedMs = performance.now();
      call.cancel();
      await eventually('nothing is in progress', all, (count) => count === 0);
      const tookMs = performance.now() - startedMs;
      t.diagnostic(`noticed everywhere after ${tookMs.toFixed(0)} ms`);
      assert.ok(tookMs < NOTICED_MS, `${tookMs} ms`);
      assert.equal((await client.call({ path: at('/hello') }).done).status, 200);
      const [peer] = await caller.peers();
      assert.equal(peer?.routes[0]?.state, 'up');
    });
  }
});
