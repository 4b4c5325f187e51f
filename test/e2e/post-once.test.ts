/**
 * A POST is delivered at most once, counted at the workers, while everything between them fails at random.
 *
 * An app's sidecar and three workers' sidecars as processes; each way between them (VPN, tunnel, and from the sidecar
 * to its worker) is a link that refuses, breaks, holds back and loses bytes at the worst moments, and the workers
 * break as well. All from a seed. The counterpart with `Idempotency-Key` and the opt-in shows that the faults do
 * lose requests: there, repeats are allowed, do happen, and save requests.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Random } from '../../sim/random.ts';
import { ANSWER_FAULTS, FaultyLink, type LinkFault, REQUEST_FAULTS } from '../support/edges/faulty-link.ts';
import { startTunnelEdge, TUNNEL_CERTIFICATE } from '../support/edges/tunnel-edge.ts';
import { type PostEnd, storm } from '../support/generators/post-storm.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { startUnrulyWorker } from '../support/workers/unruly-worker.ts';

/** Services: where a POST with a key may be sent again, and where not. */
const AGAIN = 'again';
const ONCE = 'once';
const SEED = 4;
const LINK_RATE = 0.02;
const WORKER_RATE = 0.03;
const AT_ONCE = 48;
const ALL_FAULTS: readonly LinkFault[] = [...REQUEST_FAULTS, ...ANSWER_FAULTS];

/** A listener that is gone for a moment takes its worker out for seconds: a fault of its own, and not this one. */
const WORKER_LINK_FAULTS = ALL_FAULTS.filter((fault) => fault !== 'refuse');

interface Bed {
  readonly app: SidecarProcess;
  readonly delivered: Map<string, number>;
  readonly links: readonly FaultyLink[];
  /** From here on everything fails. */
  unleash(): void;
}

async function bed(): Promise<Bed> {
  const mesh = await MeshProcesses.up();
  const delivered = new Map<string, number>();
  const links: FaultyLink[] = [];
  const workers: { rate: number }[] = [];
  const link = async (host: string, port: number, faults: readonly LinkFault[]): Promise<FaultyLink> => {
    const random = new Random(SEED * 100 + links.length);
    const made = await FaultyLink.start({ host, port }, { random, rate: LINK_RATE, faults });
    links.push(made);
    return made;
  };
  const folder = await mkdtemp(join(tmpdir(), 'post-once-'));
  onTestEnd(() => rm(folder, { recursive: true }));
  const ca = join(folder, 'edge.pem');
  await writeFile(ca, TUNNEL_CERTIFICATE);
  const env = {
    SIDECAR_TUNNEL_CA: ca,
    SIDECAR_TUNNEL_ALLOW: 'loopback',
    SIDECAR_LOG_LEVEL: 'info',
    SIDECAR_TIMEOUT_HEAD: '3s',
  };
  const names = ['one', 'two', 'three'];
  for (const [at, id] of names.entries()) {
    const worker = await startUnrulyWorker(new Random(SEED + at), delivered);
    workers.push(worker);
    const toWorker = await link('127.0.0.1', 0, WORKER_LINK_FAULTS);
    toWorker.to = worker.at;
    const tunnel = await link('127.0.0.1', 0, ALL_FAULTS);
    const edge = await startTunnelEdge(tunnel.at.port);
    onTestEnd(() => edge.close());
    const vpnIp = `127.0.0.${at + 2}`;
    const url = `http://127.0.0.1:${toWorker.at.port}`;
    const sidecar = await mesh.start({
      id,
      services: { [ONCE]: url, [AGAIN]: url },
      env: {
        ...env,
        SIDECAR_VPN_IP: vpnIp,
        SIDECAR_TUNNEL_URL: edge.url,
      },
    });
    tunnel.to = sidecar.address.inbound;
    const vpn = await link(vpnIp, sidecar.address.inbound.port, ALL_FAULTS);
    vpn.to = sidecar.address.inbound;
  }
  const app = await mesh.start({ id: 'app', env: { ...env, SIDECAR_RETRY_POST: AGAIN } });
  await app.get(ONCE, '/');
  await app.knows(names);
  const unleash = (): void => {
    for (const each of links) each.isFaulty = true;
    for (const worker of workers) worker.rate = WORKER_RATE;
  };
  return { app, delivered, links, unleash };
}

function countOf(ends: readonly PostEnd[], end: PostEnd['end']): number {
  return ends.filter((each) => each.end === end).length;
}

/** Of those whose client stayed. */
function okRatio(ends: readonly PostEnd[]): number {
  return countOf(ends, 'ok') / (ends.length - countOf(ends, 'left'));
}

function told(what: string, ends: readonly PostEnd[], delivered: Map<string, number>): void {
  const kinds = (['ok', 'refused', 'cut', 'left', 'wrong'] as const).map(
    (end) => `${end} ${countOf(ends, end)}`,
  );
  const times = ends.map(({ id }) => delivered.get(id) ?? 0);
  const often = [0, 1, 2, 3].map((n) => `${n}×: ${times.filter((each) => each === n).length}`);
  note(`${what}: ${kinds.join(', ')}; delivered ${often.join(', ')}`);
}

describe('a POST under random faults', () => {
  test('of 10,000 POSTs under random faults none is delivered twice', async () => {
    const { app, delivered, links, unleash } = await bed();
    unleash();
    const way = { to: app.address.outbound, atOnce: AT_ONCE };
    // A key alone does not allow it, nor does the opt-in alone.
    const plain = await storm({
      ...way,
      name: 'plain',
      count: 6_000,
      random: new Random(SEED + 10),
      target: `/service/${ONCE}/`,
      hasKey: (random) => random.next() < 0.5,
    });
    const keyless = await storm({
      ...way,
      name: 'keyless',
      count: 4_000,
      random: new Random(SEED + 11),
      target: `/service/${AGAIN}/`,
      hasKey: () => false,
    });
    // It lasts for longer than any link holds bytes back: what of the others comes late is counted too.
    const keyed = await storm({
      ...way,
      name: 'keyed',
      count: 2_000,
      random: new Random(SEED + 12),
      target: `/service/${AGAIN}/`,
      hasKey: () => true,
    });
    const once = [...plain, ...keyless];
    told('at most once', once, delivered);
    told('may be repeated', keyed, delivered);
    const struck = new Map<LinkFault, number>();
    for (const link of links)
      for (const [fault, n] of link.struck) struck.set(fault, (struck.get(fault) ?? 0) + n);
    note([...struck].map(([fault, n]) => `${fault} ${n}`).join(', '));

    expect(once).toHaveLength(10_000);
    expectNamed(
      once.filter(({ id }) => (delivered.get(id) ?? 0) > 1),
      'delivered twice',
    ).toStrictEqual([]);
    expectNamed(
      once.filter(({ id, end }) => end === 'ok' && delivered.get(id) !== 1),
      'answered, and not delivered once',
    ).toStrictEqual([]);
    expectNamed(okRatio(once), `only ${okRatio(once)} of them were answered`).toBeGreaterThan(0.8);
    expectNamed(
      keyed.filter(({ id, end }) => end === 'ok' && !delivered.has(id)),
      'answered, and not delivered',
    ).toStrictEqual([]);
    const repeated = keyed.filter(({ id }) => (delivered.get(id) ?? 0) > 1);
    expectNamed(
      repeated.length,
      `only ${repeated.length} were repeated where that is allowed`,
    ).toBeGreaterThan(10);
    expectNamed(okRatio(keyed), `${okRatio(keyed)} with repeats, ${okRatio(once)} without`).toBeGreaterThan(
      okRatio(once) + 0.02,
    );
    expectNamed(
      [...once, ...keyed].filter(({ end }) => end === 'wrong'),
      'answers that are not for what was sent',
    ).toStrictEqual([]);
    expectNamed(new Set(struck.keys()), 'every fault struck').toStrictEqual(new Set(ALL_FAULTS));
  });
});
