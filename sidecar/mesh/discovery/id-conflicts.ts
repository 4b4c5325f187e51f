/**
 * Two workers with one id: noticed, and named, once for each pair.
 *
 * Most often a host name that two machines share. Both go on being used, since each is a member by its own key; but
 * every page, log and metric that names workers by their id speaks of both as one, and somebody has to know. Also
 * compared is our own id, which no lookup brings up.
 */
import type { Log } from '../../core/log.ts';
import type { Peer } from '../../core/peers/peer.ts';
import type { WorkerRecord } from '../../core/peers/record.ts';

export interface IdConflictsOptions {
  readonly table: { claiming(workerId: string): readonly Peer[] };
  readonly own: { readonly key: string; readonly workerId: string; isAt(record: WorkerRecord): boolean };
  readonly log: Log;
}

/** Pairs remembered as said; past that they are said again. */
const MAX_SAID = 1_000;

export class IdConflicts {
  readonly #options: IdConflictsOptions;
  readonly #said = new Set<string>();

  constructor(options: IdConflictsOptions) {
    this.#options = options;
  }

  /** For each record that the table took. */
  check(record: WorkerRecord): void {
    const { own, table } = this.#options;
    // Who is leaving makes room for the next of that name.
    if (record.state === 'draining') return;
    const id = record.worker_id;
    // A former life of ours is at our own address.
    if (id === own.workerId && record.public_key !== own.key && !own.isAt(record)) {
      this.#say(record, own.key, 'this sidecar');
    }
    for (const peer of table.claiming(id)) {
      if (peer.key !== record.public_key && peer.state !== 'draining')
        this.#say(record, peer.key, placeOf(peer.record));
    }
  }

  #say(record: WorkerRecord, otherKey: string, otherPlace: string): void {
    const pair = [record.public_key, otherKey].sort().join(' ');
    if (this.#said.has(pair)) return;
    if (this.#said.size >= MAX_SAID) this.#said.clear();
    this.#said.add(pair);
    const { worker_id: worker, public_key: peer } = record;
    this.#options.log.warn(
      { worker, peer, addresses: [placeOf(record), otherPlace], hint: 'give each worker an id of its own' },
      `two workers call themselves ${worker}: ${peer.slice(0, 8)} at ${placeOf(record)}, and ${otherKey.slice(0, 8)} at ${otherPlace}`,
    );
  }
}

/** Where a worker is reached, for people. */
export function placeOf({
  vpn_ip: ip,
  inbound_port: port,
  tunnel_url: url,
}: Pick<WorkerRecord, 'vpn_ip' | 'inbound_port' | 'tunnel_url'>): string {
  if (ip !== null) return `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;
  return url ?? 'an unknown address';
}
