/**
 * A member without rights who announces: a certificate for no service, hundreds of made-up keys a second, and an address
 * that takes connections and never answers. Newcomers still find the workers with their first request.
 */
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import HyperDHT from 'hyperdht';
import { formatHostPort, type HostPort, parseHostPort } from '../../sidecar/core/host-port.ts';
import { silentLog } from '../../sidecar/core/log.ts';
import { PeerTable } from '../../sidecar/core/peers/peer-table.ts';
import { systemClock } from '../../sidecar/mesh/clock.ts';
import { type DhtNode, startDhtNode } from '../../sidecar/mesh/dht/node.ts';
import { readAnnouncement, readPut, withoutProof, withProof } from '../../sidecar/mesh/dht/store-guard.ts';
import { topicOf } from '../../sidecar/mesh/dht/topic.ts';
import { FetchBudget } from '../../sidecar/mesh/discovery/fetch-budget.ts';
import { Introductions } from '../../sidecar/mesh/discovery/introductions.ts';
import { lookUp } from '../../sidecar/mesh/discovery/lookup.ts';
import { RecordFetcher, sourcesOf } from '../../sidecar/mesh/discovery/record-fetcher.ts';
import { ROSTER } from '../../sidecar/mesh/discovery/roster.ts';
import { openRecord, sealRecord } from '../../sidecar/mesh/discovery/sealed-record.ts';
import { storeRules } from '../../sidecar/mesh/discovery/store-rules.ts';
import { createBundle, keyPairOf } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { issueCertificate } from '../../sidecar/mesh/membership/certificate-issuer.ts';
import { type Identity, openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { createPeerClient } from '../../sidecar/proxy/peer/client.ts';
import { MESH_KEY, member, OTHER_MESH_KEY, recordOf } from '../support/meshes/members.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { ScriptedDht } from '../support/meshes/scripted-dht.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const SERVICE = 'llm';
const NEWCOMERS = 6;

/** A member by a certificate that names no service of this mesh, neither to offer nor to call. */
function withoutRights(meshKey: Uint8Array): Identity {
  const certBundle = createBundle(fromMeshKey(meshKey), {
    workerId: 'rogue',
    offers: ['nothing'],
    calls: ['nothing'],
    days: 1,
    nowSeconds: Date.now() / 1000,
  });
  const nowMs = Date.now();
  return openIdentity({ meshKey: null, certBundle, workerId: null, services: [], stateDir: null, nowMs });
}

/** Takes connections and never says a word. */
async function tarPit(): Promise<{ readonly address: HostPort; connections: number }> {
  const pit = { address: { host: '127.0.0.1', port: 0 }, connections: 0 };
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    pit.connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  pit.address.port = (server.address() as net.AddressInfo).port;
  return pit;
}

/** Announces made-up keys for the service and on the roster until the test ends; resolves when some hundred are out. */
async function flood(node: DhtNode, rogue: Identity, at: HostPort): Promise<{ readonly count: number }> {
  const told = { count: 0 };
  const topics = [SERVICE, ROSTER].map((name) => topicOf(rogue.secrets.topicKey, name, 0));
  let isOn = true;
  const announce = async (): Promise<void> => {
    while (isOn) {
      for (const topic of topics) {
        const options = { clear: false, proof: rogue.certBytes };
        // Refused by all who store is refused: the next.
        await node.announce(topic, HyperDHT.keyPair(), [at], options).catch(() => {});
        told.count++;
      }
      await pause(5);
    }
  };
  const running = Array.from({ length: 8 }, announce);
  onTestEnd(async () => {
    isOn = false;
    await Promise.all(running);
  });
  while (told.count < 400) await pause(20);
  return told;
}

async function attackedBy(role: 'client' | 'persistent'): Promise<void> {
  const mesh = await MeshProcesses.up();
  const worker = await mesh.worker('w');
  for (const id of ['w1', 'w2', 'w3']) await mesh.sidecar({ id, services: { [SERVICE]: worker.url } });
  const rogue = withoutRights(Buffer.from(mesh.meshKey, 'hex'));
  const node = await startDhtNode({
    role,
    host: '127.0.0.1',
    port: 0,
    preferredPort: null,
    bootstrap: [parseHostPort(mesh.bootstrapAddress) as HostPort],
    knownNodes: [],
    packetKey: rogue.secrets.packetKey,
    storeRules: null,
    maxAgeMs: 180_000,
    clock: systemClock,
    log: silentLog,
  });
  onTestEnd(() => node.destroy());
  const pit = await tarPit();
  const told = await flood(node, rogue, pit.address);
  const tookMs: number[] = [];
  for (let n = 0; n < NEWCOMERS; n++) {
    const newcomer = await mesh.start({ id: `n${n}` });
    const startMs = performance.now();
    const { status, body } = await newcomer.get(SERVICE);
    tookMs.push(Math.round(performance.now() - startMs));
    expectNamed(status, `newcomer ${n}: ${body}`).toBe(200);
    await newcomer.process.kill();
  }
  note(
    `${told.count} announcements; first answers after ${tookMs.join(', ')} ms; tar pit asked ${pit.connections} times`,
  );
  // Without the rules the pit is asked for each key in each sample; who stores by them knows none of these keys.
  if (role === 'client') expect(pit.connections).toBe(0);
}

describe('announcements of a member without rights', () => {
  test('nodes store none of them, and newcomers are served by their first request', async () => {
    await attackedBy('client');
  }, 120_000);

  test('a node of its own that names them to all who ask hides nobody either', async () => {
    await attackedBy('persistent');
  }, 120_000);
});

describe('what a node stores for others', () => {
  const NOW_MS = 1_795_000_000_000;
  const clock = { unixMs: () => NOW_MS };
  const owner = member('owner', { nowMs: NOW_MS, services: [SERVICE] });
  const rules = storeRules(owner, 1, clock);
  const key = (identity: Identity): Buffer => identity.publicKey;
  const topic = (service: string): Buffer => topicOf(owner.secrets.topicKey, service, 0);
  const bundle = (offers: readonly string[], days = 30): Identity =>
    openIdentity({
      meshKey: null,
      certBundle: createBundle(fromMeshKey(MESH_KEY), {
        workerId: 'some',
        offers,
        calls: [],
        days,
        nowSeconds: NOW_MS / 1000,
      }),
      workerId: null,
      services: [],
      stateDir: null,
      nowMs: NOW_MS,
    });

  test('an announcement by its own certificate, on the topics that it names and on the roster', () => {
    const one = bundle([SERVICE]);
    expect(rules.mayAnnounce(topic(SERVICE), key(one), one.certBytes)).toBe(true);
    expect(rules.mayAnnounce(topic(ROSTER), key(one), one.certBytes)).toBe(true);
    expect(rules.mayAnnounce(topic('other'), key(one), one.certBytes)).toBe(false);
    expect(rules.mayAnnounce(topic(SERVICE), key(owner), one.certBytes)).toBe(false);
    expect(rules.mayAnnounce(topic(SERVICE), key(one), Buffer.alloc(0))).toBe(false);
    const none = bundle([]);
    expect(rules.mayAnnounce(topic(SERVICE), key(none), none.certBytes)).toBe(false);
    expect(rules.mayAnnounce(topic(ROSTER), key(none), none.certBytes)).toBe(true);
    const any = bundle(['*']);
    expect(rules.mayAnnounce(topic('anything'), key(any), any.certBytes)).toBe(true);
    const foreign = member('foreign', { nowMs: NOW_MS, services: [SERVICE], meshKey: OTHER_MESH_KEY });
    expect(rules.mayAnnounce(topic(SERVICE), key(foreign), foreign.certBytes)).toBe(false);
    const late = storeRules(owner, 1, { unixMs: () => NOW_MS + 31 * 86_400_000 });
    expect(late.mayAnnounce(topic(SERVICE), key(one), one.certBytes)).toBe(false);
  });

  test('a value that is the record of its key', () => {
    const record = sealRecord(
      owner,
      recordOf(owner, { services: [SERVICE], figures: {}, last_seen: NOW_MS / 1000 }),
    );
    expect(rules.mayPut(key(owner), record)).toBe(true);
    expect(rules.mayPut(key(bundle([SERVICE])), record)).toBe(false);
    expect(rules.mayPut(key(owner), record.subarray(1))).toBe(false);
    expect(rules.mayPut(key(owner), Buffer.alloc(0))).toBe(false);
  });

  test('any bytes are read without a fault, and what was packed comes out as it was', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        const buffer = Buffer.from(bytes);
        readPut(buffer);
        const read = readAnnouncement(buffer);
        if (read !== null) rules.mayAnnounce(topic(SERVICE), read.publicKey, read.proof);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1_024 }), fc.boolean(), (bytes, hasAddress) => {
        const proof = Buffer.from(bytes);
        const addresses = hasAddress ? [{ host: '10.42.0.1', port: 8_000 }] : [];
        const packed = withProof(addresses, proof);
        expect(withoutProof(packed)).toStrictEqual(addresses);
        expect(withoutProof(packed.slice(0, 3))).toStrictEqual(addresses);
        const encoded = Buffer.concat([
          Buffer.from([5]),
          key(owner),
          packed.length < 0xfd
            ? Buffer.from([packed.length])
            : Buffer.from([0xfd, packed.length & 255, packed.length >> 8]),
          ...packed.map(({ host, port }) =>
            Buffer.from([...host.split('.').map(Number), port & 255, port >> 8]),
          ),
        ]);
        expect(readAnnouncement(encoded)?.proof.equals(proof)).toBe(true);
      }),
    );
  });
});

describe('how often records are asked for in vain', () => {
  const at = { host: '10.42.0.7', port: 8_000 };

  test('an address that fails is asked one at a time, whatever keys are announced for it; others are not concerned', () => {
    const budget = new FetchBudget();
    const running = [1, 2, 3, 4].map((n) => budget.begin(`k${n}`, at, 0));
    expect(running.every((end) => end !== null)).toBe(true);
    expect(budget.begin('k5', at, 0)).toBe(null);
    expect(budget.begin('k5', { ...at, port: 8_001 }, 0)).not.toBe(null);
    for (const end of running) end?.(false, 2_000);
    const one = budget.begin('k6', at, 2_000);
    expect(one).not.toBe(null);
    expect(budget.begin('k7', at, 2_000)).toBe(null);
    one?.(true, 2_100);
    expect(budget.begin('k7', at, 2_100)).not.toBe(null);
    expect(budget.begin('k8', at, 2_100)).not.toBe(null);
  });

  test('a host of many failing ports has four at a time, and a key that failed thrice waits longer each time', () => {
    const budget = new FetchBudget();
    for (let port = 1; port <= 32; port++) budget.begin(`p${port}`, { host: at.host, port }, 0)?.(false, 0);
    const running = Array.from({ length: 10 }, (_, n) =>
      budget.begin(`q${n}`, { host: at.host, port: 100 + n }, 0),
    );
    expect(running.filter((end) => end !== null)).toHaveLength(4);
    const other = (n: number): HostPort =>
      parseHostPort(formatHostPort({ host: `10.42.1.${n}`, port: 1 })) as HostPort;
    for (let n = 0; n < 3; n++) budget.begin('key', other(n), 0)?.(false, 0);
    expect(budget.begin('key', other(9), 999)).toBe(null);
    budget.begin('key', other(9), 1_000)?.(false, 1_000);
    expect(budget.begin('key', other(10), 2_999)).toBe(null);
    expect(budget.begin('key', other(10), 3_000)).not.toBe(null);
  });
});

describe('a key that no secret can be shared with', () => {
  const NOW_MS = 1_795_000_000_000;
  const owner = member('owner', { nowMs: NOW_MS, services: [SERVICE] });
  const P = 2n ** 255n - 19n;

  /**
   * The key of a pair plus the point (0, -1) of order two: (x, y) becomes (-x, -y). It is on the curve, and every second
   * signature by it holds, but it is outside of the group that keys are agreed on in.
   */
  function twisted(seed: Buffer): Identity {
    const { publicKey } = keyPairOf(seed);
    const little = BigInt(`0x${Buffer.from(publicKey).reverse().toString('hex')}`);
    const sign = little >> 255n;
    const y = P - (little & (2n ** 255n - 1n));
    const key = Buffer.from((y | ((1n - sign) << 255n)).toString(16).padStart(64, '0'), 'hex').reverse();
    const workerKey = key.toString('hex');
    const certificate = {
      workerKey,
      workerId: owner.workerId,
      offers: [SERVICE],
      calls: ['*'],
      notBefore: NOW_MS / 1000 - 60,
      notAfter: NOW_MS / 1000 + 60,
    };
    const certBytes = issueCertificate(fromMeshKey(MESH_KEY), certificate);
    const secretKey = Buffer.concat([seed, key]);
    const own = { publicKey: key, secretKey, keyHex: workerKey, certificate, certBytes, renew: () => false };
    return Object.create(owner, Object.getOwnPropertyDescriptors(own));
  }

  const odd = twisted(Buffer.alloc(32, 7));
  const keys = ['ab'.repeat(32), '00'.repeat(32), 'ff'.repeat(32), `01${'00'.repeat(31)}`, odd.keyHex];

  test('its records are refused, and stored nowhere, though their signatures hold', () => {
    const rules = storeRules(owner, 1, { unixMs: () => NOW_MS });
    expect(rules.mayAnnounce(topicOf(owner.secrets.topicKey, SERVICE, 0), odd.publicKey, odd.certBytes)).toBe(
      false,
    );
    for (let seq = 1; seq <= 16; seq++) {
      const said = { services: [SERVICE], figures: {}, last_seen: NOW_MS / 1000, seq };
      const sealed = sealRecord(odd, recordOf(odd, said));
      expect(openRecord(owner.secrets, sealed, { nowMs: NOW_MS, maxSkewMs: 1_000 })).toMatchObject({
        kind: 'bad',
        reason: 'bad_certificate',
      });
      expect(rules.mayPut(odd.publicKey, sealed)).toBe(false);
    }
  });

  test('named by a file of the last run, by announcements or by an introduction: nobody is asked, and all goes on', async () => {
    const nobody = {
      request(): never {
        throw new Error('asked');
      },
    };
    const auth = new RequestAuth(owner);
    const client = createPeerClient(nobody, auth, 1_000);
    const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000 });
    const dht = new ScriptedDht();
    const reasons: unknown[] = [];
    const log = {
      ...silentLog,
      debug: ({ reason }: object & { reason?: unknown }) => void reasons.push(reason),
    };
    const mayAsk = (): boolean => true;
    const fetcher = new RecordFetcher({
      node: dht,
      table,
      fetchRecord: (_from, peerKey, signal) =>
        client.get({
          address: { scheme: 'http', host: '10.42.0.7', port: 8_000, basePath: '' },
          peerKey: peerKey ?? '',
          path: '/record',
          signal,
          maxBytes: 1_024,
        }),
      openRecord: (bytes, maxSkewMs) => openRecord(owner.secrets, bytes, { nowMs: NOW_MS, maxSkewMs }),
      mayAsk,
      onCertificate: () => {},
      clock: systemClock,
      log,
      timeoutMs: 1_000,
      maxSkewMs: 30_000,
      mutableMaxAgeMs: 60_000,
    });
    const at = (n: number): HostPort => ({ host: `10.42.0.${n}`, port: 8_000 });
    for (const [n, key] of keys.entries())
      expectNamed(await fetcher.fetch(key, sourcesOf(at(n), 'https://tunnel.example')), key).toBe(
        'unreachable',
      );
    for (const [n, key] of keys.entries()) dht.announce(key, at(10 + n));
    const report = await lookUp(SERVICE, {
      node: dht,
      table,
      fetcher,
      topicKey: owner.secrets.topicKey,
      own: owner,
      clock: systemClock,
      random: () => 0,
      shards: 1,
      sampleSize: 64,
      recordMaxAgeMs: 30_000,
      hasVpn: () => true,
      mayAsk,
    });
    expect(report).toStrictEqual({
      announced: keys.length,
      usable: 0,
      failures: { unreachable: keys.length },
    });
    const introductions = new Introductions({
      table,
      fetcher,
      own: owner,
      mayAsk,
      maxPeers: 8,
      log: silentLog,
    });
    for (const [n, key] of keys.entries())
      await introductions.onIntroduction(key, { address: at(20 + n), revision: 1 });
    expect(table.size).toBe(0);
    expect(reasons.length).toBeGreaterThan(0);
    expect(reasons.filter((reason) => !/A peer key must be/.test(String(reason)))).toStrictEqual([]);
  });
});
