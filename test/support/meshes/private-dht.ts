/**
 * A private DHT in this process, workers that announce themselves in it, and readers that find them.
 *
 * The nodes and their UDP are real; only the HTTP fetch of a record is a call into a map, so that a test
 * about discovery needs no proxy. Everything ends with the test that began it.
 */
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { silentLog } from '../../../sidecar/core/log.ts';
import { FingerCache } from '../../../sidecar/core/peers/finger-cache.ts';
import { PeerTable } from '../../../sidecar/core/peers/peer-table.ts';
import type { WorkerRecord } from '../../../sidecar/core/peers/record.ts';
import { systemClock } from '../../../sidecar/mesh/clock.ts';
import { type DhtNode, type DhtNodeOptions, startDhtNode } from '../../../sidecar/mesh/dht/node.ts';
import { Announcer } from '../../../sidecar/mesh/discovery/announcer.ts';
import {
  Directory,
  type DirectoryLookup,
  type DirectoryOptions,
} from '../../../sidecar/mesh/discovery/directory.ts';
import { RecordFetcher } from '../../../sidecar/mesh/discovery/record-fetcher.ts';
import { openRecord, sealRecord } from '../../../sidecar/mesh/discovery/sealed-record.ts';
import { fromMeshKey } from '../../../sidecar/mesh/membership/mesh-keys.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { MESH_KEY, member, recordOf } from './members.ts';

export const LOOPBACK = '127.0.0.1';
export const SECRETS = fromMeshKey(MESH_KEY);

/** Of the first node of a DHT. */
export const NODE_OPTIONS: DhtNodeOptions = {
  role: 'persistent',
  host: LOOPBACK,
  port: 0,
  preferredPort: null,
  bootstrap: [],
  knownNodes: [],
  packetKey: SECRETS.packetKey,
  storeRules: null,
  maxAgeMs: 180_000,
  clock: systemClock,
  log: silentLog,
};

export async function startNode(options: Partial<DhtNodeOptions> = {}): Promise<DhtNode> {
  const node = await startDhtNode({ ...NODE_OPTIONS, ...options });
  onTestEnd(() => node.destroy());
  return node;
}

/** Resolves when the node says so; the test's own time limit is the only one. */
export function untilStatus(node: DhtNode, kind: 'connected' | 'unreachable' | 'alone'): Promise<void> {
  if (node.status().kind === kind) return Promise.resolve();
  return new Promise((resolve) => {
    const off = node.onStatus((status) => {
      if (status.kind !== kind) return;
      off();
      resolve();
    });
  });
}

export async function joinedNode(options: Partial<DhtNodeOptions>): Promise<DhtNode> {
  const node = await startNode(options);
  await untilStatus(node, 'connected');
  return node;
}

/** A first node and `count - 1` that joined through it. */
export async function startDht(count: number): Promise<[DhtNode, ...DhtNode[]]> {
  const first = await startNode({ role: 'bootstrap' });
  const rest = Array.from({ length: count - 1 }, () => joinedNode({ bootstrap: [first.address] }));
  return [first, ...(await Promise.all(rest))];
}

/** host:port → what `GET /record` gives there. */
export class RecordWeb {
  readonly pages = new Map<string, () => Buffer | Promise<Buffer>>();
  fetches = 0;
  #nextPort = 10_000;

  serve(page: () => Buffer | Promise<Buffer>): HostPort {
    this.#nextPort += 1;
    const address = { host: LOOPBACK, port: this.#nextPort };
    this.pages.set(`${address.host}:${address.port}`, page);
    return address;
  }

  readonly fetch = async (
    from: HostPort | string,
    _key: string | null,
    signal: AbortSignal,
  ): Promise<Buffer> => {
    this.fetches += 1;
    const page = this.pages.get(typeof from === 'string' ? from : `${from.host}:${from.port}`);
    if (page === undefined) throw new Error('connection refused');
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
    return await Promise.race([page(), aborted]);
  };
}

export interface TestWorker {
  readonly key: string;
  readonly announcer: Announcer;
  /** null without VPN. */
  readonly address: HostPort | null;
  /** Changes what its record says from now on. */
  set(changes: Partial<WorkerRecord>): void;
}

/** A worker that is announced, and whose record can be fetched, when this resolves. */
export async function startWorker(
  web: RecordWeb,
  node: DhtNode,
  o: { id: string; services?: readonly string[]; vpn?: boolean; tunnel?: boolean; shards?: number },
): Promise<TestWorker> {
  const services = o.services ?? ['llm-inference'];
  const nowMs = Date.now();
  const identity = member(o.id, { services, nowMs });
  let seq = 0;
  let changes: Partial<WorkerRecord> = {};
  const sealed = (maxBytes?: number): Buffer => {
    seq += 1;
    const record = recordOf(identity, {
      services: [...services],
      figures: {},
      vpn_ip: address?.host ?? null,
      inbound_port: address?.port ?? null,
      tunnel_url: hasTunnel ? 'https://worker.example' : null,
      last_seen: Date.now() / 1000,
      epoch: nowMs,
      seq,
      ...changes,
    });
    return sealRecord(identity, record, maxBytes);
  };
  const hasTunnel = o.tunnel ?? o.vpn === false;
  const address: HostPort | null = o.vpn === false ? null : web.serve(() => sealed());
  const announcer = new Announcer({
    node,
    keyPair: identity,
    certificate: () => identity.certBytes,
    topicKey: identity.secrets.topicKey,
    services,
    shards: o.shards ?? 1,
    place: () => ({ address, hasTunnel }),
    sealRecord: sealed,
    intervalMs: 60_000,
    stopLimitMs: 5_000,
    clock: systemClock,
    random: Math.random,
    log: silentLog,
  });
  announcer.start();
  onTestEnd(() => announcer.stop());
  await until(() => announcer.status.storedAtMs !== null);
  return {
    key: identity.keyHex,
    announcer,
    address,
    set(next) {
      changes = next;
      announcer.changed();
    },
  };
}

export interface TestReader {
  readonly directory: Directory;
  readonly table: PeerTable;
  readonly cache: FingerCache;
  readonly fetcher: RecordFetcher;
  /** `find`, waited for. */
  find(service: string): Promise<DirectoryLookup>;
}

export function startReader(
  web: RecordWeb,
  node: Pick<DhtNode, 'lookup' | 'mutableGet' | 'onStatus' | 'status'>,
  o: Partial<DirectoryOptions> & { emptyTtlMs?: number; recordTimeoutMs?: number } = {},
): TestReader {
  const ttlMs = o.ttlMs ?? 60_000;
  const clock = o.clock ?? systemClock;
  const table = new PeerTable({ ttlMs, evictionBanMs: 30_000 });
  const cache = new FingerCache({ ttlMs, emptyTtlMs: o.emptyTtlMs ?? 1_000, maxServices: 1_024 });
  const fetcher = new RecordFetcher({
    node,
    table,
    fetchRecord: web.fetch,
    mayAsk: () => true,
    openRecord: (bytes, maxSkewMs) => openRecord(SECRETS, bytes, { nowMs: clock.unixMs(), maxSkewMs }),
    onCertificate: () => {},
    clock,
    log: silentLog,
    timeoutMs: o.recordTimeoutMs ?? 1_000,
    maxSkewMs: 30_000,
    mutableMaxAgeMs: 180_000,
  });
  const directory = new Directory({
    node,
    table,
    cache,
    fetcher,
    topicKey: SECRETS.topicKey,
    own: { keyHex: '' },
    clock,
    random: Math.random,
    shards: 1,
    sampleSize: 64,
    recordMaxAgeMs: ttlMs / 2,
    hasVpn: () => true,
    mayAsk: () => true,
    ttlMs,
    firstLookupWaitMs: 3_000,
    prove: async ({ routes }) => {
      for (const { health } of routes) health.succeeded(systemClock.monotonicMs());
      return true;
    },
    lastKnown: [],
    log: silentLog,
    ...o,
  });
  directory.start();
  onTestEnd(() => {
    directory.stop();
    fetcher.stop();
  });
  return {
    directory,
    table,
    cache,
    fetcher,
    async find(service) {
      const finding = directory.find(service, clock.monotonicMs());
      return finding.kind === 'hit' ? finding : await finding.ready;
    },
  };
}

/** Resolves when it is so. The limit is no assertion of speed: it only ends a test that would hang. */
export async function until(isSo: () => boolean, limitMs = 60_000): Promise<void> {
  const giveUpMs = performance.now() + limitMs;
  while (!isSo()) {
    if (performance.now() > giveUpMs) throw new Error(`not so within ${limitMs} ms: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function announced(node: DhtNode, topic: Buffer): Promise<Set<string>> {
  const keys = new Set<string>();
  for await (const { publicKey } of node.lookup(topic)) keys.add(publicKey.toString('hex'));
  return keys;
}
