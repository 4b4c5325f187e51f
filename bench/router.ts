/**
 * Bench: what one routing decision costs, for every policy, with 3, 100 and 1,000 cached peers.
 *
 * Times `choose()` alone with `performance.now()` around each call (its own cost is printed and not taken off), on
 * peers with mixed loads, slots, service times and report ages, after a warm-up. Compares the policies with
 * `random`, which needs eligibility only. Bounds: p99 ≤ 50 µs with 100 peers, ≤ 200 µs with 1,000.
 *
 *   npm run bench:router [-- --json]
 */
import { Balancer, POLICY_NAMES, type PolicyName } from '../sidecar/core/balancing/balancer.ts';
import { PeerTable } from '../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../sidecar/core/peers/record.ts';

const CALLS = 20_000;
const WARM_UP_CALLS = 5_000;
const PEERS = [3, 100, 1_000];
const BOUND_P99_US: Readonly<Record<number, number>> = { 100: 50, 1000: 200 };
const NOW_MS = 10_000;
const SERVICE = 'llm-inference';

interface Row {
  policy: PolicyName | 'affinity';
  peers: number;
  p50Us: number;
  p99Us: number;
}

/** A small deterministic generator (mulberry32), so that two runs decide the same. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function tableOf(count: number, random: () => number): PeerTable {
  const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000 });
  for (let i = 0; i < count; i += 1) {
    const concurrency = 2 ** Math.floor(random() * 5);
    const record: WorkerRecord = {
      worker_id: `worker-${i}`,
      vpn_ip: `10.42.${i >> 8}.${i & 255}`,
      tunnel_url: random() < 0.3 ? `https://w${i}.example` : null,
      services: [SERVICE],
      capabilities: {},
      load: random(),
      last_seen: 1,
      public_key: i.toString(16).padStart(8, '0').repeat(8),
      epoch: 1,
      seq: 1,
      revision: 0,
      state: 'ready',
      inbound_port: 8000,
      figures: {
        [SERVICE]: {
          in_flight: Math.floor(random() * concurrency),
          concurrency,
          queued: 0,
          service_ms: 50 + 400 * random(),
        },
      },
    };
    table.apply(record, 'record', NOW_MS - random() * 10_000);
    const endpoint = table.get(record.public_key)?.endpoint(SERVICE);
    if (endpoint !== undefined && random() < 0.1) {
      endpoint.failureRate = 0.1;
      endpoint.failureAtMs = NOW_MS;
    }
  }
  return table;
}

function time(policy: PolicyName | 'affinity', peers: number): Row {
  const random = seeded(1);
  const offering = tableOf(peers, random).offering(SERVICE);
  const balancer = new Balancer(policy === 'affinity' ? 'random' : policy, { ttlMs: 60_000 });
  const affinityKey = policy === 'affinity' ? 'session-1' : null;
  const request = { service: SERVICE, nowMs: NOW_MS, random, excluded: new Set<string>(), affinityKey };
  const samples = new Float64Array(CALLS);
  for (let i = 0; i < WARM_UP_CALLS; i += 1) balancer.choose(offering, request);
  for (let i = 0; i < CALLS; i += 1) {
    const start = performance.now();
    balancer.choose(offering, request);
    samples[i] = (performance.now() - start) * 1_000;
  }
  samples.sort();
  return { policy, peers, p50Us: samples[CALLS >> 1] ?? 0, p99Us: samples[Math.floor(CALLS * 0.99)] ?? 0 };
}

function clockCostUs(): number {
  const samples = new Float64Array(CALLS);
  for (let i = 0; i < CALLS; i += 1) {
    const start = performance.now();
    samples[i] = (performance.now() - start) * 1_000;
  }
  return samples.sort()[CALLS >> 1] ?? 0;
}

const clockUs = clockCostUs();
const rows = PEERS.flatMap((peers) =>
  (['random', ...POLICY_NAMES.filter((name) => name !== 'random'), 'affinity'] as const).map((name) =>
    time(name, peers),
  ),
);

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ clockUs, rows }));
} else {
  console.log(
    `one choose(), ${CALLS} calls each, node ${process.version}; the clock itself: ${clockUs.toFixed(2)} µs`,
  );
  console.log('peers  policy         p50 µs   p99 µs   p50 / random   bound p99');
  for (const row of rows) {
    const floor = rows.find((each) => each.peers === row.peers && each.policy === 'random');
    const bound = BOUND_P99_US[row.peers];
    const verdict = bound === undefined ? '' : row.p99Us <= bound ? `≤ ${bound} met` : `≤ ${bound} MISSED`;
    console.log(
      `${String(row.peers).padStart(5)}  ${row.policy.padEnd(12)} ${row.p50Us.toFixed(2).padStart(8)} ` +
        `${row.p99Us.toFixed(2).padStart(8)} ${(row.p50Us / (floor?.p50Us || 1)).toFixed(2).padStart(14)}   ${verdict}`,
    );
  }
}
