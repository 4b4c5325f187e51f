/**
 * Peers and a prober that asks them, on a clock that stands still: each answers, is silent or refuses, as told.
 */
import { expect } from '@jest/globals';
import { SidecarError } from '../../../sidecar/core/errors.ts';
import { silentLog } from '../../../sidecar/core/log.ts';
import type { Peer } from '../../../sidecar/core/peers/peer.ts';
import { encodePeerState } from '../../../sidecar/core/peers/peer-state.ts';
import { PeerTable } from '../../../sidecar/core/peers/peer-table.ts';
import type { WorkerState } from '../../../sidecar/core/peers/record.ts';
import type { Route } from '../../../sidecar/core/peers/route.ts';
import { Prober } from '../../../sidecar/mesh/discovery/prober.ts';
import { FakeClock } from '../runner/fake-clock.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { member, recordOf } from './members.ts';

const SERVICE = 'llm-inference';
const IDENTITY = member('template');

/** `w0`, `w1` …; in `asked`, `dead` and `refusing` with the kind of route: `w0 vpn`. */
export function probedPeers(count: number, tunnels = false) {
  const clock = new FakeClock();
  const table = new PeerTable({ ttlMs: 60_000, evictionBanMs: 30_000 });
  const keys: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const key = (n + 1).toString(16).padStart(64, '0');
    keys.push(key);
    const record = recordOf(IDENTITY, {
      public_key: key,
      worker_id: `w${n}`,
      inbound_port: 8_000 + n,
      tunnel_url: tunnels ? `https://w${n}.example` : null,
    });
    table.apply(record, 'record', clock.monotonicMs());
  }
  const asked: string[] = [];
  const dead = new Set<string>();
  const refusing = new Set<string>();
  const refetched: string[] = [];
  let report: { epoch: number; state: WorkerState; revision?: number } = { epoch: 0, state: 'ready' };
  const inUse = new Set([SERVICE]);
  const prober = new Prober({
    table,
    cache: { inUse: () => [...inUse] },
    async ask(peer: Peer, route: Route, path: string, signal: AbortSignal): Promise<Buffer> {
      expect(path).toBe('/state');
      asked.push(`${peer.record.worker_id} ${route.kind}`);
      if (refusing.has(`${peer.record.worker_id} ${route.kind}`)) {
        throw new SidecarError('connect_failed', 'connect ECONNREFUSED', { isRefused: true });
      }
      if (dead.has(`${peer.record.worker_id} ${route.kind}`)) {
        return await new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error)),
        );
      }
      const reports = [
        {
          epoch: report.epoch || peer.epoch,
          seq: 1_000,
          state: report.state,
          load: 0.5,
          service: SERVICE,
          inFlight: 2,
          queued: 0,
          concurrency: 4,
          serviceMs: 100,
          mine: 1,
          activeCallers: 2,
          oldestMs: 900,
          fullAt: null,
          fullForMs: 0,
        },
      ];
      const body = encodePeerState(reports, '', report.revision ?? null);
      return Buffer.from(JSON.stringify(body));
    },
    async refetch(peer: Peer): Promise<void> {
      refetched.push(peer.record.worker_id);
    },
    fewIntervalMs: 2_000,
    manyIntervalMs: 5_000,
    timeoutMs: 1_000,
    tunnelTimeoutMs: 3_000,
    clock,
    random: () => 0.5,
    log: silentLog,
  });
  onTestEnd(() => prober.stop());
  const peer = (n: number): Peer | undefined => table.get(keys[n] ?? '');
  const say = (next: typeof report): void => {
    report = next;
  };
  return { clock, table, asked, dead, refusing, refetched, inUse, prober, peer, say };
}
