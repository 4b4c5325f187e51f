/** Old news: what others still hold of a worker that has left, two workers of one name, a clock that was set back. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { saidAtMs } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const SERVICE = 'llm-inference';
const CLOCK = join(import.meta.dirname, '../support/host/shifted-clock.ts');
const TEN_MINUTES_MS = 600_000;

describe('old news of a worker', () => {
  test('a worker that has left is not revived by what a DHT node still holds of it', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('home');
    const [home, app] = await Promise.all([
      mesh.sidecar({
        id: 'home',
        services: { [SERVICE]: worker.url },
        // With a tunnel its record is kept in the DHT; nobody listens at this one.
        env: { SIDECAR_TUNNEL_URL: 'https://localhost:1' },
      }),
      mesh.sidecar({
        id: 'app',
        config: { cache: { ttl: '1s' } },
        env: { SIDECAR_TUNNEL_ALLOW: 'loopback' },
      }),
    ]);
    expect((await app.get(SERVICE)).status).toBe(200);
    // It does not hear the good-bye, and goes on telling that the worker is ready.
    mesh.bootstrap.signal('SIGSTOP');
    onTestEnd(() => mesh.bootstrap.signal('SIGCONT'));
    home.process.signal('SIGTERM');
    await home.logged({ signal: 'SIGTERM' });
    // Every response carries its good-bye.
    expect((await app.get(SERVICE)).status).toBe(200);
    await app.knows(['home'], 'draining');
    expect(await home.process.ended).toBe('exit code 0');
    await eventually(
      'it is gone',
      async () => [(await app.get(SERVICE)).status, (await app.peers()).length],
      ([status, peers]) => status === 503 && peers === 0,
    );
    const sinceMs = Date.now();
    mesh.bootstrap.signal('SIGCONT');
    let seen = 0;
    const toldOf = app.process.line((line) => {
      const isOfIt = line.message === 'lookup done' && line.service === SERVICE && saidAtMs(line) > sinceMs;
      if (isOfIt && line.announced === 1) seen++;
      return seen >= 3 ? line : null;
    });
    await eventually(
      'three lookups were told of it',
      async () => {
        expect((await app.get(SERVICE)).status).toBe(503);
        expect(await app.peers()).toStrictEqual([]);
        return seen;
      },
      (lookups) => lookups >= 3,
    );
    const { outcome, usable, failures } = await toldOf;
    expect({ outcome, usable, failures }).toStrictEqual({
      outcome: 'empty',
      usable: 0,
      failures: { gone: 1 },
    });
  });

  test('two workers with one id are both named in the log, and both are used', async () => {
    const mesh = await MeshProcesses.up();
    const [first, second] = await Promise.all([mesh.worker('first'), mesh.worker('second')]);
    const app = await mesh.sidecar({ id: 'app' });
    const one = await mesh.sidecar({ id: 'twin', services: { [SERVICE]: first.url } });
    const two = await mesh.sidecar({ id: 'twin', services: { [SERVICE]: second.url } });
    const places = [one, two].map(({ address }) => `127.0.0.1:${address.inbound.port}`);
    const noticed = await app.process.line((line) =>
      String(line.message).startsWith('two workers call themselves twin: ') ? line : null,
    );
    expect(noticed.level).toBe('warn');
    expect([...(noticed.addresses as string[])].sort()).toStrictEqual([...places].sort());
    for (const place of places)
      expectNamed(String(noticed.message), String(noticed.message)).toContain(place);
    expect(String(noticed.hint)).toMatch(/id of its own/);
    // Each of them is told too: of itself and the other one.
    for (const [at, twin] of [one, two].entries()) {
      const own = await twin.process.line(({ message }) =>
        String(message).includes('two workers call themselves twin') ? String(message) : null,
      );
      expect(own).toMatch(/and [0-9a-f]{8} at this sidecar$/);
      expectNamed(own, own).toContain(places[1 - at] as string);
    }
    await eventually(
      'both are used',
      async () => {
        await app.get(SERVICE, '/?id=both');
        return [(await first.seen('both')).length, (await second.seen('both')).length];
      },
      (counts) => counts.every((count) => count > 0),
    );
  });

  test('a worker that is restarted with its clock set back is believed by its own word', async () => {
    const state = await mkdtemp(join(tmpdir(), 'dht-sidecar-state-'));
    onTestEnd(() => rm(state, { recursive: true, force: true }));
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    const setup = { id: 'one', services: { [SERVICE]: worker.url }, env: { SIDECAR_STATE_DIR: state } };
    const [one, app] = await Promise.all([mesh.sidecar(setup), mesh.sidecar({ id: 'app' })]);
    expect((await app.get(SERVICE)).status).toBe(200);
    await one.process.kill();
    const clock = { NODE_OPTIONS: `--import=${CLOCK}`, CLOCK_SHIFT_MS: String(-TEN_MINUTES_MS) };
    const again = await mesh.start({ ...setup, env: { ...setup.env, ...clock }, address: one.address });
    await again.logged({ service: SERVICE, state: 'ready' });
    const readyMs = performance.now();
    await eventually(
      'it is used',
      () => app.get(SERVICE),
      ({ status }) => status === 200,
    );
    expectNamed(performance.now() - readyMs, 'within 2 s of being ready').toBeLessThan(2_000);
  });
});
