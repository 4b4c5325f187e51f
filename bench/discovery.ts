/**
 * How long discovery takes: `npm run bench:discovery [nodes]`.
 *
 * Part 1: a private DHT of 100 nodes in this process, on loopback; a newcomer joins and looks a service up,
 * with all bootstrap nodes alive and with one of two dead, as this project does it and as hyperdht does with
 * its own options ("join" ends with the first response here, and with `fullyBootstrapped` there). Part 2: from the
 * start of a sidecar's process to the first request that another sidecar routes to its worker, beside the start of
 * a bare Node server. All share this machine's cores and no network lies between: the figures are the program's own
 * cost.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import HyperDHT, { type DhtAddress } from 'hyperdht';
import { silentLog } from '../sidecar/core/log.ts';
import { systemClock } from '../sidecar/mesh/clock.ts';
import { type DhtNode, startDhtNode } from '../sidecar/mesh/dht/node.ts';
import { SealedUDX } from '../sidecar/mesh/dht/sealed-udx.ts';
import { topicOf } from '../sidecar/mesh/dht/topic.ts';
import { measureStarts } from './support/worker-start.ts';

const HOST = '127.0.0.1';
const PACKET_KEY = Buffer.alloc(32, 1);
const WORKERS = 20;
const FIRST_REQUEST_BOUND_MS = 2_000;
const STARTS = 10;
const TOPIC = topicOf(Buffer.alloc(32, 2), 'llm-inference', 0);

interface Newcomer {
  lookup(): AsyncIterable<number>;
  end(): Promise<void>;
}

interface Row {
  readonly who: string;
  readonly bootstraps: string;
  readonly joinMs: number;
  readonly firstPeerMs: number[];
  readonly wholeMs: number[];
  readonly peers: number;
}

async function startOurs(role: 'persistent' | 'client', bootstrap: DhtAddress[]): Promise<DhtNode> {
  const node = await startDhtNode({
    role,
    host: HOST,
    port: 0,
    preferredPort: null,
    bootstrap,
    knownNodes: [],
    packetKey: PACKET_KEY,
    storeRules: null,
    maxAgeMs: 180_000,
    clock: systemClock,
    log: silentLog,
  });
  if (bootstrap.length === 0 || node.status().kind === 'connected') return node;
  await new Promise<void>((resolve) => {
    const off = node.onStatus(({ kind }) => {
      if (kind !== 'connected') return;
      off();
      resolve();
    });
  });
  return node;
}

async function ourNewcomer(bootstrap: DhtAddress[]): Promise<Newcomer> {
  const node = await startOurs('client', bootstrap);
  return {
    async *lookup() {
      for await (const _ of node.lookup(TOPIC)) yield 1;
    },
    end: () => node.destroy(),
  };
}

async function plainNewcomer(bootstrap: DhtAddress[]): Promise<Newcomer> {
  const dht = new HyperDHT({
    host: HOST,
    port: [0, 0],
    bootstrap,
    ephemeral: true,
    udx: new SealedUDX(PACKET_KEY),
  });
  await dht.fullyBootstrapped();
  return {
    async *lookup() {
      for await (const reply of dht.lookup(TOPIC)) yield reply.peers.length;
    },
    end: () => dht.destroy({ force: true }),
  };
}

async function measure(
  who: string,
  bootstraps: string,
  lookups: number,
  join: () => Promise<Newcomer>,
): Promise<Row> {
  const startedMs = performance.now();
  const newcomer = await join();
  const joinMs = performance.now() - startedMs;
  const firstPeerMs: number[] = [];
  const wholeMs: number[] = [];
  let peers = 0;
  for (let lookup = 0; lookup < lookups; lookup += 1) {
    const beganMs = performance.now();
    let first = Number.NaN;
    let seen = 0;
    for await (const count of newcomer.lookup()) {
      if (Number.isNaN(first) && count > 0) first = performance.now() - beganMs;
      seen += count;
    }
    firstPeerMs.push(first);
    wholeMs.push(performance.now() - beganMs);
    if (seen > 0) peers += 1;
  }
  await newcomer.end();
  return { who, bootstraps, joinMs, firstPeerMs, wholeMs, peers };
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

function print(rows: readonly Row[]): void {
  const head = ['who', 'bootstraps', 'join', 'first peer p50', 'p99', 'lookup p50', 'p99', 'found'];
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  const lines = rows.map((row) => [
    row.who,
    row.bootstraps,
    ms(row.joinMs),
    ms(percentile(row.firstPeerMs, 0.5)),
    ms(percentile(row.firstPeerMs, 0.99)),
    ms(percentile(row.wholeMs, 0.5)),
    ms(percentile(row.wholeMs, 0.99)),
    `${row.peers}/${row.wholeMs.length}`,
  ]);
  const widths = head.map((title, at) =>
    Math.max(title.length, ...lines.map((line) => line[at]?.length ?? 0)),
  );
  for (const line of [head, ...lines]) {
    console.log(
      line
        .map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
        .join('  '),
    );
  }
}

async function compareLookups(nodeCount: number, lookups: number): Promise<void> {
  const first = await startOurs('persistent', []);
  const nodes = [first];
  while (nodes.length < nodeCount) {
    const batch = Math.min(10, nodeCount - nodes.length);
    nodes.push(
      ...(await Promise.all(Array.from({ length: batch }, () => startOurs('persistent', [first.address])))),
    );
  }
  for (let worker = 0; worker < WORKERS; worker += 1) {
    const node = nodes[Math.floor((worker * nodes.length) / WORKERS)] ?? first;
    await node.announce(TOPIC, HyperDHT.keyPair(), [{ host: HOST, port: 8_000 + worker }], { clear: false });
  }
  const mute = createSocket('udp4');
  mute.bind(0, HOST);
  await once(mute, 'listening');
  const dead = { host: HOST, port: mute.address().port };
  const alive = [first.address, nodes[1]?.address ?? first.address];
  console.log(
    `\nLookups of one service with ${WORKERS} workers in a DHT of ${nodeCount} nodes, ${lookups} by each newcomer:`,
  );
  print([
    await measure('dht-sidecar', '2 alive', lookups, () => ourNewcomer(alive)),
    await measure('hyperdht', '2 alive', lookups, () => plainNewcomer(alive)),
    await measure('dht-sidecar', '1 of 2 dead', lookups, () => ourNewcomer([dead, first.address])),
    await measure('hyperdht', '1 of 2 dead', lookups, () => plainNewcomer([dead, first.address])),
  ]);
  mute.close();
  await Promise.all(nodes.map((node) => node.destroy()));
}

/** Wanted: ≤ 2 s on loopback. */
async function startToFirstRequest(starts: number): Promise<void> {
  console.log(
    `\nStart of a sidecar's process, ${starts} times, while an app asks for the service all the time:`,
  );
  const times = await measureStarts(starts);
  const floor = percentile(times.floorMs, 0.5);
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ['a bare Node process answers HTTP (the floor)', times.floorMs],
    ['the sidecar listens', times.listensMs],
    ['first request routed to it, the only worker', times.onlyMs],
    ['first request routed to it, the second worker', times.secondMs],
  ];
  for (const [what, values] of rows) {
    const [p50, p99] = [percentile(values, 0.5), percentile(values, 0.99)];
    const ms = [p50, p99].map((value) => `${value.toFixed(0).padStart(5)} ms`);
    console.log(
      `${what.padEnd(46)}  p50 ${ms[0]}  p99 ${ms[1]}  ${(p50 / floor).toFixed(1).padStart(5)} × floor`,
    );
  }
  const worst = Math.max(...times.onlyMs, ...times.secondMs);
  console.log(
    `slowest ${worst.toFixed(0)} ms (bound ${FIRST_REQUEST_BOUND_MS} ms): ${worst <= FIRST_REQUEST_BOUND_MS ? 'ok' : 'OVER'}`,
  );
}

await compareLookups(Number(process.argv[2] ?? 100), 100);
// In a small DHT each query also asks the bootstrap list, so that there a dead one counts most.
await compareLookups(4, 3);
await startToFirstRequest(STARTS);
