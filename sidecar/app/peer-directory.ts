/**
 * The directory as the request path wants it: mesh/ on one side, the interface that proxy/ declares on the other.
 *
 * The seam between the two folders that may not know each other.
 */
import { applyReport, parseReport } from '../core/peers/load-report.ts';
import type { Peer } from '../core/peers/peer.ts';
import type { PeerTable } from '../core/peers/peer-table.ts';
import { systemClock } from '../mesh/clock.ts';
import type { Directory } from '../mesh/discovery/directory.ts';
import type { Prober } from '../mesh/discovery/prober.ts';
import { WarmingCheck } from '../mesh/discovery/warming-check.ts';
import type { PeerDirectory } from '../proxy/outbound/directory.ts';

export function peerDirectory(directory: Directory, table: PeerTable, prober: Prober): PeerDirectory {
  const recheck = new WarmingCheck({ clock: systemClock, look: (service) => prober.askWarming(service) });
  type Answer = Awaited<Extract<ReturnType<Directory['find']>, { kind: 'wait' }>['ready']>;
  const viewOf = (found: Answer) =>
    found.kind === 'hit' ? { kind: 'peers' as const, peers: found.peers, ageMs: found.ageMs } : found;
  return {
    find(service, app) {
      const found = directory.find(service, performance.now(), app);
      if (found.kind === 'wait') return { kind: 'wait', ready: found.ready.then(viewOf) };
      return { kind: 'hit', view: { kind: 'peers', peers: found.peers, ageMs: found.ageMs } };
    },
    search: async (service, wish, fits) => viewOf(await directory.search(service, wish, fits)),
    lookUpAnew: async (service) => viewOf(await directory.lookUpAnew(service)),
    peek: (service) => table.offering(service),
    reported(peer: Peer, service: string, value: string) {
      const report = parseReport(value);
      if (report === null) return;
      const nowMs = performance.now();
      table.markAlive(peer.key, nowMs);
      const outcome = applyReport(peer, { ...report, service }, 'response', nowMs);
      if (outcome === 'restarted' || peer.isRecordBehind(report.revision ?? null, nowMs))
        void directory.refetch(peer);
    },
    // One doubt, however many requests shared the failure: the prober settles it.
    markSuspect: (peer) => {
      if (peer.presence === 'live') table.probeFailed(peer.key, performance.now());
    },
    notOffered: (peer, service) => table.dropService(peer.key, service),
    absent: (service, limit) => table.absent(service, performance.now(), limit),
    services: () => table.services(),
    checkWarming: (service) => recheck.look(service),
    silent: (route) => prober.silent(route),
  };
}
