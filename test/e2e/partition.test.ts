/**
 * A network that is parted into halves, silently, and healed: each half goes on by itself, and afterwards they are
 * one mesh again, without any restart; also when there is no bootstrap node by which they could meet.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect } from '@jest/globals';
import type { Readiness } from '../../sidecar/observe/readiness.ts';
import { netnsReason } from '../support/host/netns.ts';
import { type NetnsHost, NetnsMesh } from '../support/meshes/netns-mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const reason = netnsReason();
const DHT_PORT = 49737;

/** Who begins a request just before the cut pays a connect time-out, once, and then goes elsewhere. */
const CUT_COSTS_MS = 1_800;
const COSTLY_REQUESTS = 2;

/** Longer than anything that was begun before the cut, or for the sake of the other half, is tried again. */
const PARTED_MS = 25_000;

/** After the heal: a service that came up meanwhile in the other half is found, and everybody knows everybody. */
const FOUND_WITHIN_MS = 15_000;
const WHOLE_WITHIN_MS = 25_000;

interface Sample {
  readonly status: number;
  readonly body: string;
  readonly attempts: number;
  readonly tookMs: number;
}

/** Asks for `alpha` all the time, one request after the other. */
class Caller {
  readonly samples: Sample[] = [];
  readonly #ended: Promise<void>;
  #isOver = false;

  constructor(app: NetnsHost) {
    this.#ended = this.#go(app);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#ended;
  }

  async #go(app: NetnsHost): Promise<void> {
    while (!this.#isOver) {
      const { body, headers, status, tookMs } = await app.get('alpha');
      this.samples.push({ status, body, attempts: Number(headers['sidecar-attempts']), tookMs });
      await pause(30);
    }
  }
}

async function partAndHeal(o: { hasBootstrap: boolean }): Promise<void> {
  const { mesh, hosts } = await NetnsMesh.up(5);
  const [appA, workerA, appB, workerB, late] = hosts as [
    NetnsHost,
    NetnsHost,
    NetnsHost,
    NetnsHost,
    NetnsHost,
  ];
  const dhtOf = ({ number }: NetnsHost): string => `${mesh.rig.address(number)}:${DHT_PORT}`;
  const start = (host: NetnsHost, services: readonly string[], env = {}): Promise<void> =>
    host.start(services, { SIDECAR_DHT_LISTEN: dhtOf(host), SIDECAR_POLICY: 'round-robin', ...env });
  const first = [appA, workerA, appB, workerB];
  await Promise.all(first.map((host) => start(host, host === workerA || host === workerB ? ['alpha'] : [])));
  for (const host of first) await host.knows(first.filter((other) => other !== host));
  if (!o.hasBootstrap) await mesh.killBootstrap();
  const callers = [appA, appB].map((app) => new Caller(app));
  await usesBoth(appA);
  await usesBoth(appB);

  const cutMs = performance.now();
  mesh.part([1, appA.number, workerA.number], [appB.number, workerB.number, late.number]);
  // It knows one node, of its own half.
  await start(late, ['gamma'], { SIDECAR_BOOTSTRAP: `${mesh.bootstrapAddress},${dhtOf(appB)}` });
  await served(appB, 'gamma', late);
  await Promise.all([forgets(appA, workerB), forgets(appB, workerA)]);
  const inA = o.hasBootstrap ? 2 : 1;
  await Promise.all([
    ...[appA, workerA].map((host) => knowsNodes(host, inA)),
    ...[appB, workerB, late].map((host) => knowsNodes(host, 2)),
  ]);
  expectNamed((await appA.get('gamma')).status, 'the halves are parted').toBe(503);
  await pause(PARTED_MS - (performance.now() - cutMs));
  note(`parted for ${Math.round(performance.now() - cutMs)} ms`);

  mesh.rig.heal();
  const healedMs = performance.now();
  const sinceHeal = (): number => Math.round(performance.now() - healedMs);
  await served(appA, 'gamma', late);
  const foundMs = sinceHeal();
  await Promise.all([appA, appB].map(usesBoth));
  note(`after the heal: the other half's new service in ${foundMs} ms, its old one in ${sinceHeal()} ms`);
  for (const host of hosts) await host.knows(hosts.filter((other) => other !== host));
  const wholeMs = sinceHeal();
  note(`all know all after ${wholeMs} ms`);
  expectNamed(foundMs, `found only after ${foundMs} ms`).toBeLessThanOrEqual(FOUND_WITHIN_MS);
  expectNamed(wholeMs, `whole only after ${wholeMs} ms`).toBeLessThanOrEqual(WHOLE_WITHIN_MS);

  for (const caller of callers) {
    await caller.end();
    const { samples } = caller;
    const failed = samples.filter(({ status }) => status !== 200);
    expectNamed(failed, `of ${samples.length} requests`).toStrictEqual([]);
    const costly = samples.filter(({ attempts }) => attempts > 1);
    note(
      `${samples.length} requests, ${costly.length} went elsewhere: ${costly.map((one) => Math.round(one.tookMs))} ms`,
    );
    expectNamed(costly.length, JSON.stringify(costly)).toBeLessThanOrEqual(COSTLY_REQUESTS);
    expect(costly.every(({ tookMs }) => tookMs <= CUT_COSTS_MS)).toBe(true);
  }
}

async function served(app: NetnsHost, service: string, by: NetnsHost): Promise<void> {
  await eventually(
    `${app.id} is served ${service} by ${by.id}`,
    () => app.get(service),
    ({ headers }) => headers['sidecar-worker'] === by.id,
  );
}

async function usesBoth(app: NetnsHost): Promise<void> {
  const seen = new Set<unknown>();
  await eventually(
    `${app.id} is served alpha by both workers`,
    async () => seen.add((await app.get('alpha')).headers['sidecar-worker']).size,
    (workers) => workers === 2,
  );
}

/** Its DHT node knows so many others: those who are silent fall out of its table as it looks something up. */
async function knowsNodes(host: NetnsHost, count: number): Promise<void> {
  await eventually(
    `${host.id} knows ${count} DHT nodes`,
    async () => {
      await host.get('nobody-offers-this');
      return (await host.admin<Readiness>('/readyz')).dht.nodes;
    },
    (nodes) => nodes === count,
  );
}

async function forgets(app: NetnsHost, worker: NetnsHost): Promise<void> {
  await eventually(
    `${app.id} forgets ${worker.id}`,
    () => app.peers(),
    (peers) => peers.every(({ worker_id }) => worker_id !== worker.id),
  );
}

describe('a parted network that is healed', () => {
  testUnless(reason)(
    'each half goes on and both become one again, with a bootstrap node in one of them',
    () => partAndHeal({ hasBootstrap: true }),
  );

  testUnless(reason)('each half goes on and both become one again, without any bootstrap node', () =>
    partAndHeal({ hasBootstrap: false }),
  );
});
