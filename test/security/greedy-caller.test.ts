/**
 * A member that says of each of its requests that it is under way for two minutes, and sends as many as it can: the queue
 * of a worker is still shared.
 */
import { describe, expect, test } from '@jest/globals';
import { HostileStage } from '../support/meshes/hostile-stage.ts';
import { eventually } from '../support/runner/eventually.ts';

const LIE = { 'sidecar-under-way-ms': '120000' };
const SERVED = 120;

async function stage(queue: number): Promise<HostileStage> {
  return await HostileStage.set({
    services: ['nothing'],
    service: { concurrency: 1, queue },
    worker: {
      answer: (_seen, response) => void setTimeout(() => response.end('done'), 15),
    },
    env: { SIDECAR_TIMEOUT_HEAD: '20s', SIDECAR_TIMEOUT_IDLE: '20s' },
  });
}

/** Both ask as long as the test wants to; resolves with what each was served. */
async function contend(
  { app, hostile, toHonest, worker }: HostileStage,
  { honest, greedy }: { readonly honest: number; readonly greedy: number },
): Promise<{ readonly honest: number; readonly greedy: number; readonly failed: number }> {
  let isOver = false;
  let failed = 0;
  const loop = async (ask: () => Promise<unknown>): Promise<void> => {
    while (!isOver) await ask();
  };
  const loops = [
    ...Array.from({ length: greedy }, () => loop(() => hostile.ask(toHonest, '/service/ocr/greedy', LIE))),
    ...Array.from({ length: honest }, () =>
      loop(async () => {
        const { status } = await app.get('ocr', '/honest');
        if (status !== 200) failed += 1;
      }),
    ),
  ];
  const served = (path: string) => worker.seen.filter(({ target }) => target === path).length;
  await eventually(
    'enough was served',
    () => worker.seen.length,
    (count) => count >= SERVED,
  );
  const seen = { honest: served('/honest'), greedy: served('/greedy') };
  isOver = true;
  await Promise.all(loops);
  return { ...seen, failed };
}

describe('a caller that claims to be under way for two minutes', () => {
  test('takes no more than its share: the app of another is served as often, and no request of it fails', async () => {
    const { honest, greedy, failed } = await contend(await stage(100), { honest: 3, greedy: 12 });
    expect(honest / (honest + greedy)).toBeGreaterThanOrEqual(0.45);
    expect(failed).toBe(0);
  });

  test('nor where the queue is full: it makes room for those who have less of it', async () => {
    const { honest, greedy, failed } = await contend(await stage(6), { honest: 2, greedy: 12 });
    expect(honest / (honest + greedy)).toBeGreaterThanOrEqual(0.45);
    expect(failed).toBe(0);
  });
});
