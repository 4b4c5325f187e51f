/** The plan of a reload: what differs, and nothing else, is told once, and carried out it leaves nothing to do. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { planReload, reloaded } from '../../sidecar/app/reload.ts';
import { type LoadedConfig, loadConfig } from '../../sidecar/config/load.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';

function loaded(content: object): LoadedConfig {
  const files = { 'c.json': JSON.stringify(content) };
  return loadConfig(
    configInput({ args: ['--config', 'c.json'], env: { SIDECAR_MESH_KEY: MESH_KEY }, files }),
  );
}

const service = fc.record(
  {
    url: fc.constantFrom('http://127.0.0.1:9000', 'http://127.0.0.1:9001'),
    concurrency: fc.integer({ min: 1, max: 3 }),
    queue: fc.integer({ min: 0, max: 2 }),
    retryPost: fc.boolean(),
    timeouts: fc.record({ head: fc.constantFrom('1s', '2s') }),
    health: fc.record({ path: fc.constantFrom('/health', '/live') }),
  },
  { requiredKeys: ['url'] },
);

const content = fc.record(
  {
    services: fc.dictionary(fc.constantFrom('one', 'two', 'three'), service),
    calls: fc.dictionary(fc.constantFrom('four', 'five'), fc.record({ retryPost: fc.boolean() })),
    balance: fc.record({ policy: fc.constantFrom('adaptive', 'rank') }),
    log: fc.record({ level: fc.constantFrom('info', 'debug'), format: fc.constantFrom('json', 'pretty') }),
    cache: fc.record({ ttl: fc.constantFrom('5s', '6s') }),
    drain: fc.record({ wait: fc.constantFrom('5s', '6s') }),
    timeouts: fc.record({ head: fc.constantFrom('3s', '4s') }),
  },
  { requiredKeys: [] },
);

const names = (config: LoadedConfig) => config.config.services.map(({ name }) => name).sort();

describe('the plan of a reload', () => {
  test('of the same configuration is to do nothing', () => {
    fc.assert(
      fc.property(content, (made) => {
        expect(planReload(loaded(made), loaded(structuredClone(made)))).toStrictEqual({
          services: { added: [], removed: [], changed: [] },
          rebuilt: [],
          applied: [],
          needsRestart: [],
        });
      }),
    );
  });

  test('of any two leads from one to the other, and leaves what takes a restart', () => {
    fc.assert(
      fc.property(content, content, (from, to) => {
        const before = loaded(from);
        const after = loaded(to);
        const { services, rebuilt, applied, needsRestart } = planReload(before, after);
        const { added, removed, changed } = services;
        const kept = names(before).filter((name) => !removed.includes(name));
        expect([...kept, ...added].sort()).toStrictEqual(names(after));
        for (const name of [...changed, ...rebuilt]) expect(kept).toContain(name);
        expect(applied.some((key) => needsRestart.includes(key))).toBe(false);
        for (const key of ['log.format', 'cache.ttl', 'drain.wait'])
          expect(needsRestart.includes(key)).toBe(
            JSON.stringify(before.options.get(key)) !== JSON.stringify(after.options.get(key)),
          );

        const now = reloaded(before, after);
        const rest = planReload(now, after);
        expect(rest.services).toStrictEqual({ added: [], removed: [], changed: [] });
        expect(rest.applied).toStrictEqual([]);
        expect(rest.needsRestart).toStrictEqual(needsRestart);
        expect(now.config.services).toStrictEqual(after.config.services);
        expect(now.config.log.level).toBe(after.config.log.level);
        expect(now.config.log.format).toBe(before.config.log.format);
        expect(now.config.cache).toStrictEqual(before.config.cache);
      }),
    );
  });

  test('what a service is built from builds it anew, with all that share its slots; what only says how it is called does not', () => {
    const worker = { url: 'http://127.0.0.1:9000' };
    const shared = { ...worker, concurrency: 2, slots: { group: 'gpu' } };
    const before = loaded({ services: { one: worker, two: shared, three: shared } });
    const plan = (services: object) => planReload(before, loaded({ services }));
    expect(plan({ one: { ...worker, aliases: ['uno'] }, two: shared, three: shared })).toMatchObject({
      services: { changed: ['one'] },
      rebuilt: [],
    });
    expect(plan({ one: { ...worker, queue: 1 }, two: shared, three: shared }).rebuilt).toStrictEqual(['one']);
    expect(plan({ one: worker, two: { ...shared, queue: 1 }, three: shared })).toMatchObject({
      services: { changed: ['two'] },
      rebuilt: ['two', 'three'],
    });
    expect(plan({ one: worker, two: shared })).toMatchObject({
      services: { removed: ['three'] },
      rebuilt: ['two'],
    });
  });
});
