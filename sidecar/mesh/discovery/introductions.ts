/**
 * Introductions: who asks for our record, and is not known here as what it is, is asked for its own at once.
 *
 * A newcomer reads the roster and so meets everybody, or a fair sample; by the same stroke it becomes known to them,
 * rather than half a TTL later at their next lookup. Its word is only where it listens: what it offers is in the
 * record, which is verified as any other. Likewise one that was known in a former life, or before its record changed.
 */

import type { HostPort } from '../../core/host-port.ts';
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { RecordFetcher } from './record-fetcher.ts';

export interface IntroductionsOptions {
  readonly table: Pick<PeerTable, 'all' | 'get' | 'size'>;
  readonly fetcher: Pick<RecordFetcher, 'fetch'>;
  readonly own: { readonly keyHex: string };
  /** As for announcements: an introduction is a request to connect somewhere. */
  readonly mayAsk: (address: HostPort) => boolean;
  /** Above so many known peers no introduction is followed up: who is known then is the sample's affair. */
  readonly maxPeers: number;
  readonly log: Log;
}

/** What it says of itself; `revision` of its record, null = not told. */
interface Introduced {
  readonly address: HostPort;
  readonly revision: number | null;
}

/** Peers that are told of a change at once. */
const MAX_TOLD = 64;

/** A fleet that starts at once introduces itself at once; the rest is found by lookups. */
const MAX_RUNNING = 32;

export class Introductions {
  readonly #options: IntroductionsOptions;
  /** Keys of those that are being asked: each once, or one that asks without end would keep out all others. */
  readonly #running = new Set<string>();

  constructor(options: IntroductionsOptions) {
    this.#options = options;
  }

  /** `keyHex` is proven, the rest is its word. Resolves when its record is in, or was not to be had. */
  async onIntroduction(keyHex: string, { address, revision }: Introduced): Promise<void> {
    const { fetcher, log, maxPeers, mayAsk, own, table } = this.#options;
    const known = table.get(keyHex);
    if (keyHex === own.keyHex || isAsKnown(known, address, revision)) return;
    if (
      (known === undefined && table.size >= maxPeers) ||
      this.#running.size >= MAX_RUNNING ||
      !mayAsk(address)
    )
      return;
    if (this.#running.has(keyHex)) return;
    this.#running.add(keyHex);
    const outcome = await fetcher.fetch(keyHex, [{ kind: 'address', address }]);
    this.#running.delete(keyHex);
    log.debug({ peer: keyHex, address, outcome }, 'a newcomer introduced itself');
  }

  /**
   * What our record says has changed. Those who know us hear of it by being asked for theirs, the most recently heard
   * first; the others by our responses, and when they ask for our state.
   */
  recordChanged(): void {
    const { fetcher, table } = this.#options;
    const peers = [...table.all()].filter(
      ({ presence, state }) => presence === 'live' && state !== 'draining',
    );
    peers.sort((a, b) => b.heardAtMs - a.heardAtMs);
    for (const { key, record } of peers.slice(0, MAX_TOLD)) {
      const { vpn_ip: host, inbound_port: port } = record;
      if (host !== null && port !== null)
        void fetcher.fetch(key, [{ kind: 'address', address: { host, port } }]);
    }
  }
}

/** One that shuts down introduces itself to nobody: if it does, it has started anew. */
function isAsKnown(peer: Peer | undefined, { host, port }: HostPort, revision: number | null): boolean {
  if (peer === undefined || peer.state === 'draining' || peer.presence === 'suspect') return false;
  if (revision !== null && peer.record.revision !== null && revision > peer.record.revision) return false;
  return peer.record.vpn_ip === host && peer.record.inbound_port === port;
}
