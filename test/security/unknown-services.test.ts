/** An app that makes up names of services, and one that has no token: what they cost the DHT and the other apps. */
import { describe, expect, test } from '@jest/globals';
import { UnknownBudget } from '../../sidecar/core/peers/finger-cache.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';

const TOKENS = { good: 'token-of-the-good-app', bad: 'token-of-the-bad-app' };
const NAMES = 600;
/** At once, and in the seconds that asking takes. */
const MOST_LOOKUPS = 64 + 8 * 30;

describe('an app that asks for services that do not exist', () => {
  test('costs a bounded number of lookups, and another app still finds its service by its first request', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('w');
    const app = await mesh.sidecar({
      id: 'app',
      env: { SIDECAR_OUTBOUND_TOKENS: `good=${TOKENS.good},bad=${TOKENS.bad}` },
    });
    const ask = (service: string, token: string) =>
      app.call({ target: `/service/${service}/`, headers: { 'sidecar-token': token } });
    const before = (await app.stats()).dht_lookups;
    const answers = await Promise.all(
      Array.from({ length: NAMES }, (_, n) => ask(`made-up-${n}`, TOKENS.bad)),
    );
    const lookups = (await app.stats()).dht_lookups - before;
    note(`${lookups} lookups for ${NAMES} names`);
    expect(lookups).toBeLessThan(MOST_LOOKUPS);
    for (const { body, status } of answers) expectNamed(status, body).toBe(503);
    const refused = answers.filter(({ body }) => /It was not looked up/.test(body));
    expect(refused.length).toBeGreaterThan(NAMES - MOST_LOOKUPS);
    expect(refused[0]?.headers['retry-after']).toBeDefined();
    await mesh.sidecar({ id: 'late', services: { llm: worker.url } });
    expect((await ask('llm', TOKENS.good)).status).toBe(200);
    // Known by now, also to the one whose budget is spent.
    expect((await ask('llm', TOKENS.bad)).status).toBe(200);
  }, 60_000);

  test('without a token: 401 with WWW-Authenticate, and nothing is looked up', async () => {
    const mesh = await MeshProcesses.up();
    const app = await mesh.sidecar({ id: 'app', env: { SIDECAR_OUTBOUND_TOKEN: TOKENS.good } });
    const before = (await app.stats()).dht_lookups;
    const { headers, status } = await app.get('made-up');
    expect([status, headers['www-authenticate']]).toStrictEqual([401, 'Bearer']);
    expect((await app.stats()).dht_lookups).toBe(before);
  });

  test('the budget comes back by time, and is each app its own', () => {
    const budget = new UnknownBudget();
    const taken = (app: string | null, nowMs: number): number => {
      let count = 0;
      while (budget.take(app, nowMs)) count++;
      return count;
    };
    expect(taken('a', 0)).toBe(64);
    expect(taken('a', 1_000)).toBe(8);
    expect(taken(null, 1_000)).toBe(64);
    expect(taken('a', 3_600_000)).toBe(64);
    expect(taken('a', 0)).toBe(0); // a clock that is set back gives nothing
  });
});
