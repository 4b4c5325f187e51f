/**
 * How records of peers are fetched: over which connections, what is said of this sidecar with the question, and what a
 * record must keep to be believed.
 *
 * Composition only, a part of discovery's.
 */
import type { Config } from '../config/config.ts';
import { INTRODUCTION_HEADER, REVISION_HEADER } from '../core/forwarding/sidecar-headers.ts';
import { formatHostPort, type HostPort } from '../core/host-port.ts';
import { baseUrlOf } from '../core/http/base-url.ts';
import type { Log } from '../core/log.ts';
import type { PeerTable } from '../core/peers/peer-table.ts';
import { systemClock } from '../mesh/clock.ts';
import type { DhtNode } from '../mesh/dht/node.ts';
import { RecordFetcher } from '../mesh/discovery/record-fetcher.ts';
import { openRecord } from '../mesh/discovery/sealed-record.ts';
import type { Identity } from '../mesh/membership/identity.ts';
import type { RequestAuth } from '../mesh/membership/request-auth.ts';
import type { PeerAddress, PeerClient } from '../proxy/peer/client.ts';
import type { PeerAddresses } from './peer-addresses.ts';
import type { SelfReport } from './self-report.ts';

export const RECORD_TIMEOUT_MS = 2_000;
const MAX_RECORD_BYTES = 16_384;

/** How far the time of a record may be from now, by the clock of its worker. */
const MAX_SKEW_MS = 30_000;

/** So far apart the clocks of a fleet may be. */
const CLOCKS_APART_MS = 15 * 60_000;

export interface RecordsOptions {
  readonly config: Config;
  readonly identity: Identity;
  readonly auth: Pick<RequestAuth, 'clockOffsetMs'>;
  readonly self: SelfReport;
  readonly client: PeerClient;
  readonly peerAddresses: Pick<PeerAddresses, 'mayBeAt'>;
  readonly log: Log;
  readonly node: DhtNode;
  readonly table: PeerTable;
  /** Unix ms at which the certificate of a peer ends. */
  onCertificate(keyHex: string, endsMs: number): void;
}

export function buildRecordFetcher(options: RecordsOptions): RecordFetcher {
  const { auth, client, config, identity, log, node, self, table } = options;
  return new RecordFetcher({
    node,
    table,
    fetchRecord: (from, expectedKey, signal) => {
      if (expectedKey === null) return Promise.reject(new Error('a record is only asked of a known key'));
      return client.get({
        address: peerAddress(from),
        peerKey: expectedKey,
        path: '/record',
        fields: introductionOf(self),
        signal,
        maxBytes: MAX_RECORD_BYTES,
      });
    },
    openRecord: (bytes, maxSkewMs, keyHex) => {
      const nowMs = Date.now() + (auth.clockOffsetMs(keyHex) ?? 0);
      return openRecord(identity.secrets, bytes, { nowMs, maxSkewMs, certificateNowMs: Date.now() });
    },
    mayAsk: options.peerAddresses.mayBeAt,
    onCertificate: (keyHex, endsMs) => options.onCertificate(keyHex, endsMs),
    clock: systemClock,
    log,
    timeoutMs: RECORD_TIMEOUT_MS,
    maxSkewMs: MAX_SKEW_MS,
    mutableMaxAgeMs: config.dht.maxAgeMs + CLOCKS_APART_MS,
  });
}

/** Where an announcement, or a tunnel's URL, leads. */
export function peerAddress(from: HostPort | string): PeerAddress {
  return typeof from === 'string' ? baseUrlOf(new URL(from)) : { scheme: 'http', ...from, basePath: '' };
}

/** Who asks for a record says where its own is to be had. */
function introductionOf(self: SelfReport): string[] {
  if (self.vpnIp === null || self.state === 'draining') return [];
  const address = formatHostPort({ host: self.vpnIp, port: self.inboundPort });
  return [INTRODUCTION_HEADER, address, REVISION_HEADER, String(self.revision)];
}
