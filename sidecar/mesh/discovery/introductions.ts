/**
 * Introductions: who asks for our record, and is not known here as what it is, is asked for its own at once.
 *
 * A newcomer reads the roster and so meets everybody, or a fair sample; by the same stroke it becomes known to them,
 * rather than half a TTL later at their next lookup. Its word is only where it listens: what it offers is in the
 * record, which is verified as any other. Likewise one that was known in a former life: it came back.
 */

import type { HostPort } from '../../core/host-port.ts';
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { RecordFetcher } from './record-fetcher.ts';

export interface IntroductionsOptions {
  readonly table: Pick<PeerTable, 'get' | 'size'>;
  readonly fetcher: Pick<RecordFetcher, 'fetch'>;
  readonly ownKeyHex: string;
  /** As for announcements: an introduction is a request to connect somewhere. */
  readonly mayAsk: (address: HostPort) => boolean;
  /** Above so many known peers no introduction is followed up: who is known then is the sample's affair. */
  readonly maxPeers: number;
  readonly log: Log;
}

/** A fleet that starts at once introduces itself at once; the rest is found by lookups. */
const MAX_RUNNING = 32;

export class Introductions {
  readonly #options: IntroductionsOptions;
  /** Keys of those that are being asked: each once, or one that asks without end would keep out all others. */
  readonly #running = new Set<string>();

  constructor(options: IntroductionsOptions) {
    this.#options = options;
  }

  /** `keyHex` is proven, `address` is its word. Resolves when its record is in, or was not to be had. */
  async onIntroduction(keyHex: string, address: HostPort): Promise<void> {
    const { fetcher, log, maxPeers, mayAsk, ownKeyHex, table } = this.#options;
    if (keyHex === ownKeyHex || isAsKnown(table.get(keyHex), address)) return;
    if (table.size >= maxPeers || this.#running.size >= MAX_RUNNING || !mayAsk(address)) return;
    if (this.#running.has(keyHex)) return;
    this.#running.add(keyHex);
    const outcome = await fetcher.fetch(keyHex, [{ kind: 'address', address }]);
    this.#running.delete(keyHex);
    log.debug({ peer: keyHex, address, outcome }, 'a newcomer introduced itself');
  }
}

/** One that shuts down introduces itself to nobody: if it does, it has started anew. */
function isAsKnown(peer: Peer | undefined, { host, port }: HostPort): boolean {
  if (peer === undefined || peer.state === 'draining' || peer.presence === 'suspect') return false;
  return peer.record.vpn_ip === host && peer.record.inbound_port === port;
}
