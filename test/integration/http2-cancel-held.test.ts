/** The app cancels an upload that a worker does not read, in both versions on each hop: nothing is left of it. */

import { describe, expect, test } from '@jest/globals';
import type { Member } from '../support/meshes/mesh.ts';
import { startVersionMesh, WAYS } from '../support/meshes/version-mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import type { Call } from '../support/wire/version-clients.ts';

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

describe('cancelling an upload that stands still', () => {
  const bed = sharedByTests(() => startVersionMesh());

  for (const name of WAYS) {
    test(`${name}: it is noticed everywhere, and the way to the peer stays up`, async () => {
      const { ways, caller, called } = bed();
      const { client, at } = ways[name];
      const all = async (): Promise<number> => (await inProgress(caller)) + (await inProgress(called));
      const call = client.call({ method: 'POST', path: at('/sink'), body: true });
      await fill(call);
      expectNamed(await all(), 'outbound, inbound, worker').toBe(3);
      const startedMs = performance.now();
      call.cancel();
      await eventually('nothing is in progress', all, (count) => count === 0);
      const tookMs = performance.now() - startedMs;
      note(`noticed everywhere after ${tookMs.toFixed(0)} ms`);
      expectNamed(tookMs, `${tookMs} ms`).toBeLessThan(NOTICED_MS);
      expect((await client.call({ path: at('/hello') }).done).status).toBe(200);
      const [peer] = await caller.peers();
      expect(peer?.routes[0]?.state).toBe('up');
    });
  }
});
