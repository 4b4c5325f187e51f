/**
 * Drops peers whose certificate has ended: within a second, since all that they would be sent is sent to somebody who
 * belongs no longer.
 *
 * Shortly before, each is asked for its record once more: most have renewed by then.
 */
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { PeerTable } from '../../core/peers/peer-table.ts';
import type { Clock } from '../clock.ts';

export interface ExpiredPeersOptions {
  readonly table: Pick<PeerTable, 'get' | 'remove' | 'size'>;
  readonly refetch: (peer: Peer) => Promise<void>;
  /** What runs to it is to be cut. */
  readonly onDropped: (peer: Peer) => void;
  readonly clock: Clock;
  readonly log: Pick<Log, 'warn'>;
}

const LOOK_MS = 1_000;
const ASK_BEFORE_MS = 15_000;
const ASK_EVERY_MS = 4_000;

interface End {
  endsMs: number;
  askedMs: number;
}

export class ExpiredPeers {
  readonly #options: ExpiredPeersOptions;
  readonly #ends = new Map<string, End>();
  #cancel = (): void => {};

  constructor(options: ExpiredPeersOptions) {
    this.#options = options;
  }

  start(): void {
    this.#cancel = this.#options.clock.after(LOOK_MS, () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    this.#cancel();
  }

  /** Unix ms; of the record that is in the table now. */
  holdsUntil(keyHex: string, endsMs: number): void {
    this.#ends.set(keyHex, { endsMs, askedMs: Number.NEGATIVE_INFINITY });
  }

  #look(): void {
    const { clock, log, onDropped, refetch, table } = this.#options;
    const nowMs = clock.unixMs();
    for (const [key, end] of this.#ends) {
      const peer = table.get(key);
      if (peer === undefined) {
        this.#ends.delete(key);
      } else if (nowMs > end.endsMs) {
        this.#ends.delete(key);
        table.remove(key);
        log.warn(
          { peer: key, worker: peer.record.worker_id, hint: 'its operator has to renew it' },
          'a peer is dropped: its certificate has ended',
        );
        onDropped(peer);
      } else if (nowMs > end.endsMs - ASK_BEFORE_MS && nowMs - end.askedMs > ASK_EVERY_MS) {
        end.askedMs = nowMs;
        void refetch(peer);
      }
    }
  }
}
