/**
 * Puts discovery together: the DHT node, the peer table, lookups, probes, announcements, what is kept on disk.
 *
 * Composition only, apart from run.ts because it is half of it.
 */
import type { Config } from '../config/config.ts';
import type { HostPort } from '../core/host-port.ts';
import { isIp4 } from '../core/host-port.ts';
import type { Log } from '../core/log.ts';
import { FingerCache } from '../core/peers/finger-cache.ts';
import type { Peer } from '../core/peers/peer.ts';
import { PeerTable } from '../core/peers/peer-table.ts';
import type { Route } from '../core/peers/route.ts';
import { systemClock, within } from '../mesh/clock.ts';
import { type DhtPlace, MovingDhtNode } from '../mesh/dht/moving-node.ts';
import type { DhtNode } from '../mesh/dht/node.ts';
import { SHARDS } from '../mesh/dht/topic.ts';
import { Announcer } from '../mesh/discovery/announcer.ts';
import { Directory } from '../mesh/discovery/directory.ts';
import { ExpiredPeers } from '../mesh/discovery/expired-peers.ts';
import { IdConflicts } from '../mesh/discovery/id-conflicts.ts';
import { Introductions } from '../mesh/discovery/introductions.ts';
import { KeyClones } from '../mesh/discovery/key-clones.ts';
import { KnownNodes } from '../mesh/discovery/known-nodes.ts';
import { lookUp } from '../mesh/discovery/lookup.ts';
import { Prober } from '../mesh/discovery/prober.ts';
import type { RecordFetcher } from '../mesh/discovery/record-fetcher.ts';
import { RevocationSpread } from '../mesh/discovery/revocation-spread.ts';
import { ROSTER, Roster } from '../mesh/discovery/roster.ts';
import { openRecord, sealRecord } from '../mesh/discovery/sealed-record.ts';
import { storeRules } from '../mesh/discovery/store-rules.ts';
import type { Identity } from '../mesh/membership/identity.ts';
import type { RequestAuth } from '../mesh/membership/request-auth.ts';
import { MAX_LIST_BYTES } from '../mesh/membership/revocations.ts';
import type { PeerDirectory } from '../proxy/outbound/directory.ts';
import type { PeerClient } from '../proxy/peer/client.ts';
import { buildRecordFetcher, peerAddress, RECORD_TIMEOUT_MS } from './build-records.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { PeerAddresses } from './peer-addresses.ts';
import { peerDirectory } from './peer-directory.ts';
import type { SelfReport } from './self-report.ts';

export interface Mesh {
  readonly node: DhtNode;
  readonly table: PeerTable;
  readonly cache: FingerCache;
  readonly directory: Directory;
  readonly announcer: Announcer;
  readonly clones: KeyClones;
  readonly introductions: Introductions;
  readonly fetcher: RecordFetcher;
  readonly prober: Prober;
  readonly revoked: RevocationSpread;
  readonly peerDirectory: PeerDirectory;
  /** The own certificate is another one, and its key perhaps too. */
  renewed(hasNewKey: boolean): void;
  /** What this sidecar says of itself may have changed: all are told. */
  selfChanged(): void;
  /** Its VPN address is another one, or gone: the DHT node and the routes follow. Rejects when the node cannot. */
  vpnMoved(): Promise<void>;
  /** Looks a service up now, for one who asks about it; counts as no request. Never rejects. */
  lookUpNow(service: string): Promise<void>;
}

export interface MeshOptions {
  readonly config: Config;
  readonly identity: Identity;
  readonly auth: Pick<RequestAuth, 'clockOffsetMs' | 'keyReplaced'>;
  readonly self: SelfReport;
  readonly client: PeerClient;
  readonly peerAddresses: Pick<PeerAddresses, 'mayBeAt'>;
  readonly lifecycle: Lifecycle;
  readonly log: Log;
  /** Breaks what runs to a peer that is a member no longer. */
  cut(peer: Pick<Peer, 'routes'>): void;
}

/** "Nobody" is believed for so long (design, finger cache). */
const EMPTY_TTL_MS = 1_000;

/** Names of services are chosen by apps. */
const MAX_SERVICES = 1_000;

/** Peers kept per service. */
const SAMPLE_SIZE = 64;
const EVICTION_BAN_MS = 30_000;
const MAX_STATE_BYTES = 65_536;
const MAX_LIFE_BYTES = 4_096;

/** A record under our own key that is no older is worth a question. */
const MAX_OTHER_AGE_MS = 86_400_000;

const SAVE_INTERVAL_MS = 60_000;
const UNANNOUNCE_LIMIT_MS = 2_000;

/** After the VPN address has changed. */
const SECOND_WORD_MS = 3_000;

const EVERY_ADDRESS = '0.0.0.0';

/** Known peers above which introductions are not followed up. */
const MAX_INTRODUCED = 256;

/** Binds the DHT node and begins; joining and finding go on behind. */
export async function buildMesh(options: MeshOptions): Promise<Mesh> {
  const { config, identity, lifecycle, log, self } = options;
  const mayAsk = options.peerAddresses.mayBeAt;
  const clock = systemClock;
  const known = new KnownNodes({ stateDir: config.state.dir, clock, log, intervalMs: SAVE_INTERVAL_MS });
  const remembered = await known.load();
  const node = await MovingDhtNode.start({
    ...placeOf(config, self.vpnIp),
    port: config.dht.listen.port,
    preferredPort: remembered.ownPort,
    bootstrap: config.dht.bootstrap,
    knownNodes: remembered.nodes,
    packetKey: identity.secrets.packetKey,
    storeRules: storeRules(identity, SHARDS, clock),
    maxAgeMs: config.dht.maxAgeMs,
    clock,
    log,
  });
  lifecycle.onStop('dht', () => node.destroy());
  known.start(() => ({ ownPort: node.address.port, nodes: node.nodes(64), peers: directory.view() }));
  lifecycle.onStop('known nodes', () => known.stop());

  const { ttlMs, firstLookupWaitMs } = config.cache;
  const hasVpn = (): boolean => self.vpnIp !== null;
  const routeKinds = new Set<Route['kind']>(hasVpn() ? ['vpn', 'tunnel'] : ['tunnel']);
  /** Nothing is learnt from the answer: at an address that it has left may be another life of the same key. */
  const askOnce = (peerKey: string, address: Route): Promise<Buffer> =>
    options.client.get({
      address,
      peerKey,
      path: '/state',
      signal: AbortSignal.timeout(RECORD_TIMEOUT_MS),
      maxBytes: MAX_STATE_BYTES,
      isFresh: true,
    });
  const table = new PeerTable({
    ttlMs,
    evictionBanMs: EVICTION_BAN_MS,
    routeKinds,
    // What runs by an address that its peer has left would wait for ever; by one that it has besides, it goes on. So does
    // what runs to another peer there: any member can name the address of an honest one, and leave it.
    onRoutesLeft: (peer, left) => {
      for (const route of left)
        askOnce(peer.key, route).catch(() => {
          if (!isSomebodyAt(route)) options.cut({ routes: [route] });
        });
    },
  });
  const isSomebodyAt = ({ host, port }: HostPort): boolean =>
    [...table.all()].some(({ routes }) => routes.some((route) => route.host === host && route.port === port));
  const cache = new FingerCache({ ttlMs, emptyTtlMs: EMPTY_TTL_MS, maxServices: MAX_SERVICES });
  const fetcher = buildRecordFetcher({
    ...options,
    node,
    table,
    onCertificate: (keyHex, endsMs) => expired.holdsUntil(keyHex, endsMs),
  });
  lifecycle.onStop('records', () => fetcher.stop());
  const expired = new ExpiredPeers({
    table,
    refetch: (peer) => directory.refetch(peer),
    onDropped: (peer) => options.cut(peer),
    clock,
    log,
  });
  expired.start();
  lifecycle.onStop('expired peers', () => expired.stop());
  const conflicts = new IdConflicts({
    table,
    own: {
      get key() {
        return identity.keyHex;
      },
      workerId: config.worker.id,
      isAt: ({ vpn_ip, inbound_port, tunnel_url }) =>
        vpn_ip === null
          ? tunnel_url === self.tunnelUrl
          : vpn_ip === self.vpnIp && inbound_port === self.inboundPort,
    },
    log,
  });
  const startUnderNewKey = (): void => {
    options.auth.keyReplaced(Date.now());
    self.startAnew();
    makeKnown();
  };
  const clones = new KeyClones({
    own: identity,
    life: () => self.life(),
    ask: (from, peerKey, path) =>
      options.client.get({
        address: peerAddress(from),
        peerKey,
        path,
        signal: AbortSignal.timeout(RECORD_TIMEOUT_MS),
        maxBytes: MAX_LIFE_BYTES,
        isFresh: true,
      }),
    mayAsk,
    takeNewKey: () => {
      const { isReplaced, fault } = identity.replaceKey(Date.now());
      if (!isReplaced) return fault;
      startUnderNewKey();
      if (fault !== null)
        log.warn({ reason: fault }, 'the new key cannot be kept: the next start begins with the former one');
      return null;
    },
    reclaim: () => makeKnown(),
    clock,
    log,
  });
  lifecycle.onStop('clones', () => clones.stop());
  fetcher.onRecord((record) => {
    conflicts.check(record);
    clones.seen(record);
  });
  const looking = {
    node,
    table,
    fetcher,
    topicKey: identity.secrets.topicKey,
    own: identity,
    onOwnKey: (address: HostPort) => {
      if (address.host !== self.vpnIp || address.port !== self.inboundPort) clones.found(address);
    },
    clock,
    random: Math.random,
    shards: SHARDS,
    sampleSize: SAMPLE_SIZE,
    recordMaxAgeMs: ttlMs / 2,
    hasVpn,
    mayAsk,
  };
  const directory = new Directory({
    ...looking,
    cache,
    ttlMs,
    firstLookupWaitMs,
    prove: (peer) => prober.prove(peer),
    lastKnown: remembered.peers,
    log,
  });
  const lookUpNow = (service: string): Promise<void> =>
    within(clock, firstLookupWaitMs, lookUp(service, looking), undefined).then(
      () => {},
      () => {},
    );
  directory.start();
  lifecycle.onStop('directory', () => directory.stop());
  const introductions = new Introductions({
    table,
    fetcher,
    own: identity,
    mayAsk,
    maxPeers: MAX_INTRODUCED,
    log,
  });
  const roster = new Roster({ ...looking, dht: node, intervalMs: ttlMs / 2, log });
  roster.start();
  lifecycle.onStop('roster', () => roster.stop());
  const prober = new Prober({
    table,
    cache,
    ask: (peer, route, path, signal) =>
      options.client.get({
        address: route,
        peerKey: peer.key,
        path,
        signal,
        maxBytes: MAX_STATE_BYTES,
        isFresh: !route.health.isUp,
      }),
    refetch: (peer) => directory.refetch(peer),
    fewIntervalMs: config.probe.fewIntervalMs,
    manyIntervalMs: config.probe.manyIntervalMs,
    timeoutMs: config.probe.timeoutMs,
    tunnelTimeoutMs: config.calls.default.timeouts.tunnelConnectMs,
    clock,
    random: Math.random,
    log,
  });
  prober.start();
  const revoked = new RevocationSpread({
    revocations: identity.revocations,
    table,
    own: identity,
    onDropped: (peer) => options.cut(peer),
    ask: ({ key: peerKey }, route, path) =>
      options.client.get({
        address: route,
        peerKey,
        path,
        signal: AbortSignal.timeout(RECORD_TIMEOUT_MS),
        maxBytes: MAX_LIST_BYTES,
      }),
    clock,
    random: Math.random,
    log,
  });
  fetcher.onRecord(({ public_key: key }) => revoked.met(key));
  revoked.start();
  lifecycle.onStop('revoked keys', () => revoked.stop());
  lifecycle.onStop('prober', () => prober.stop());
  const announcer = new Announcer({
    node,
    keyPair: identity,
    certificate: () => {
      identity.renew(clock.unixMs());
      return identity.certBytes;
    },
    topicKey: identity.secrets.topicKey,
    services: [ROSTER, ...config.services.map(({ name }) => name)],
    shards: SHARDS,
    place: () => ({
      // The DHT keeps IPv4 addresses alone: who has another one is found by its record there.
      address:
        self.vpnIp === null || !isIp4(self.vpnIp) ? null : { host: self.vpnIp, port: self.inboundPort },
      hasTunnel: self.tunnelUrl !== null,
    }),
    sealRecord: (maxBytes) => sealRecord(identity, self.record(), maxBytes),
    onOtherRecord: (bytes) => {
      const opened = openRecord(identity.secrets, bytes, { nowMs: Date.now(), maxSkewMs: MAX_OTHER_AGE_MS });
      if (opened.kind === 'ok') clones.foundRecord(opened.record);
    },
    intervalMs: config.dht.announceIntervalMs,
    stopLimitMs: UNANNOUNCE_LIMIT_MS,
    clock,
    random: Math.random,
    log,
  });
  function makeKnown(): void {
    announcer.startAnew();
    introductions.recordChanged();
  }
  announcer.start();
  lifecycle.onStop('announcer', () => announcer.stop());
  let cancelSecondWord = (): void => {};
  lifecycle.onStop('second word', () => cancelSecondWord());
  const selfChanged = (): void => {
    const hasChanged = self.changed();
    announcer.changed();
    if (hasChanged) introductions.recordChanged();
  };
  return {
    node,
    table,
    cache,
    directory,
    announcer,
    clones,
    introductions,
    fetcher,
    prober,
    revoked,
    peerDirectory: peerDirectory(directory, table, prober),
    selfChanged,
    vpnMoved: async () => {
      if (hasVpn()) routeKinds.add('vpn');
      else routeKinds.delete('vpn');
      table.routeKindsChanged();
      await node.moveTo(placeOf(config, self.vpnIp));
      selfChanged();
      if (hasVpn()) prober.lookAtRoutes('vpn');
      // The first packets of a VPN that has just come up may be lost: who could not be told then is told now.
      cancelSecondWord();
      cancelSecondWord = clock.after(SECOND_WORD_MS, () => introductions.recordChanged());
    },
    renewed: (hasNewKey) => {
      if (hasNewKey) startUnderNewKey();
      else makeKnown();
    },
    lookUpNow,
  };
}

/** A node stores for others where it has one address that they reach it by: that of the VPN. */
function placeOf({ dht }: Config, vpnIp: string | null): DhtPlace {
  const vpn = vpnIp !== null && isIp4(vpnIp) ? vpnIp : null;
  const host = dht.isAtVpn ? (vpn ?? EVERY_ADDRESS) : dht.listen.host;
  return { role: vpn === null || host === EVERY_ADDRESS ? 'client' : 'persistent', host };
}
