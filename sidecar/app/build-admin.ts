/**
 * Puts the operator's side together: what the admin pages and the gauges read, and where they read it.
 *
 * Composition only.
 */
import type { Config } from '../config/config.ts';
import type { Balancer } from '../core/balancing/balancer.ts';
import type { Log } from '../core/log.ts';
import { passedOverReason } from '../core/peers/exclusion-reason.ts';
import { vpnWanted } from '../core/peers/vpn-address.ts';
import { SELF_REPORT_TTL_MS } from '../core/worker/self-reported-load.ts';
import { PushWatch } from '../load/source-watch.ts';
import type { RequestAuth } from '../mesh/membership/request-auth.ts';
import type { Revocations } from '../mesh/membership/revocations.ts';
import { Admin, type AdminHandlers, type ExplainedWishes } from '../observe/admin.ts';
import type { Metrics } from '../observe/metrics.ts';
import { countPeers, describePeer, scrapeTargets } from '../observe/peer-view.ts';
import { assessReadiness, type Readiness } from '../observe/readiness.ts';
import type { RequestHistory } from '../observe/request-history.ts';
import type { LocalService } from '../proxy/worker/local-service.ts';
import type { Pauses } from '../proxy/worker/pauses.ts';
import type { Mesh } from './build-mesh.ts';
import type { Reloader } from './reload.ts';
import type { SelfReport } from './self-report.ts';
import type { CertificateWatch } from './watches/certificate-watch.ts';
import { adminPages } from './web-page-rules.ts';

export interface AdminParts {
  readonly config: Config;
  readonly mesh: Mesh;
  readonly auth: Pick<RequestAuth, 'clockOffsetMs'>;
  readonly metrics: Metrics;
  readonly requests: RequestHistory;
  readonly balancer: Balancer;
  readonly services: ReadonlyMap<string, LocalService>;
  readonly self: SelfReport;
  readonly certificate: Pick<CertificateWatch, 'facts'>;
  readonly pauses: Pauses;
  readonly reloader: Reloader | null;
  readonly revocations: Revocations;
  readonly version: string;
  readonly log: Log;
}

export function readiness({ certificate, config, mesh, self }: AdminParts): Readiness {
  const nowMs = performance.now();
  return assessReadiness({
    peersKnown: mesh.table.size,
    peersUsable: [...mesh.table.all()].filter((peer) => peer.isReachable(null, nowMs)).length,
    dht: mesh.node.status(),
    draining: self.state === 'draining',
    certificate: certificate.facts(),
    isRevoked: mesh.revoked.isOwnKeyRevoked,
    clones: mesh.clones.notes,
    vpnAwaited: config.vpn.isWatched && self.vpnIp === null ? vpnWanted(config.vpn.source) : null,
  });
}

export function watchGauges(parts: AdminParts): void {
  const { mesh, metrics, self, services } = parts;
  metrics.watch({
    cache: () => {
      const { cache_hits, cache_misses, dht_lookups } = mesh.cache.counters;
      const nowMs = performance.now();
      return {
        hits: cache_hits,
        misses: cache_misses,
        lookups: dht_lookups,
        size: mesh.cache.size,
        services: mesh.cache.inUse(nowMs).map((service) => ({
          service,
          ageMs: mesh.directory.ageMs(service, nowMs) ?? Number.POSITIVE_INFINITY,
          peers: mesh.table.offering(service).length,
        })),
      };
    },
    peers: () => countPeers(mesh.table.all(), performance.now()),
    load: () => self.load(null),
    services: () =>
      [...services.values()].map(({ name, admission }) => ({
        service: name,
        inFlight: admission.inFlight,
        queued: admission.queued,
        concurrency: admission.concurrency,
      })),
    dht: () => mesh.node.status(),
    state: () => self.state,
    ready: () => readiness(parts).ready,
    certificateEndsMs: () => parts.certificate.facts().endsMs,
  });
}

export function buildAdmin(parts: AdminParts): Admin {
  const { auth, balancer, config, log, mesh, metrics, requests, self, version } = parts;
  const startedMs = performance.now();
  const pushes = new PushWatch(log, SELF_REPORT_TTL_MS.push);
  const handlers: AdminHandlers = {
    stats: () => metrics.stats(),
    metricsText: () => metrics.text(),
    metricsType: metrics.contentType,
    peers: (service) => {
      const peers =
        service === null
          ? [...mesh.table.all()]
          : mesh.table.offering(config.aliases.get(service) ?? service);
      return peers.map((peer) =>
        describePeer(peer, performance.now(), {
          clockOffsetMs: auth.clockOffsetMs(peer.key),
          sharedBy: mesh.clones.addressesOf(peer.key),
        }),
      );
    },
    ready: () => readiness(parts),
    explainService: (name, wishes) => explainService(config.aliases.get(name) ?? name, wishes),
    explainRequest: (id) => requests.explain(id),
    targets: () =>
      scrapeTargets(
        { workerId: config.worker.id, host: scrapeHost(config, self.vpnIp), port: config.admin.listen.port },
        mesh.table.all(),
      ),
    load: () => ({ services: [...parts.services.keys()].map((service) => loadOf(service)) }),
    putLoad: ({ service, loadRatio }) => {
      const named = service === null ? null : (config.aliases.get(service) ?? service);
      const told = [...parts.services.values()].filter(({ name }) => named === null || name === named);
      for (const { name, selfReportedLoad } of told) {
        selfReportedLoad.report('push', loadRatio, performance.now());
        pushes.pushed(name);
      }
      return told.length === 0 ? null : SELF_REPORT_TTL_MS.push;
    },
    pauseState: () => parts.pauses.state(),
    setPaused: (service, isPaused) =>
      parts.pauses.set(service === null ? null : (config.aliases.get(service) ?? service), isPaused),
    reload: () => parts.reloader?.reload() ?? Promise.resolve(null),
    revoked: () => ({
      made_ms: parts.revocations.madeMs,
      revoked: [...parts.revocations.keys].map((key) => ({
        public_key: key,
        worker_id: mesh.table.revokedPeer(key)?.record.worker_id ?? null,
      })),
    }),
    putRevoked: (text) => {
      const { kind, fault } = parts.revocations.take(text);
      if (fault !== null)
        log.warn({ reason: fault }, 'the list of revoked keys cannot be kept: a restart forgets it');
      return kind === 'bad' ? null : { revoked: parts.revocations.keys.size, is_newer: kind === 'taken' };
    },
    identity: () => ({
      worker_id: self.workerId,
      version,
      uptime_s: Math.round((performance.now() - startedMs) / 1000),
    }),
  };

  function loadOf(service: string): object {
    const { loadRatio, source, bySource } = self.load(service);
    return { service, load: loadRatio, source, by_source: bySource };
  }

  /** A dry run: it looks a service up that nobody is known for, and counts as no request. */
  async function explainService(service: string, wishes: ExplainedWishes): Promise<object> {
    if (mesh.table.offering(service).length === 0) await mesh.lookUpNow(service);
    const nowMs = performance.now();
    const peers = mesh.table.offering(service);
    const local = parts.services.get(service);
    const call = config.calls.byService.get(service);
    const explanation = balancer.explain(peers, {
      service,
      nowMs,
      random: Math.random,
      excluded: new Set(),
      affinityKey: null,
      requirements: [...(call?.requirements ?? []), ...wishes.requirements],
      preferences: [...wishes.preferences, ...(call?.preferences ?? [])],
    });
    return {
      ...explanation,
      absent: mesh.table.absent(service, nowMs),
      known_services: [...new Set([...mesh.table.services(), ...parts.services.keys()])].sort(),
      local:
        local === undefined
          ? null
          : {
              state: local.state,
              reason: local.isPaused ? local.whyNot?.detail : local.healthReason,
              paused: local.isPaused,
              ...instancesOf(local),
              passed_over: passedOverReason(local.standing, service, local.admission.inFlight, nowMs),
            },
      view_age_ms: mesh.directory.ageMs(service, nowMs),
      dht: mesh.node.status(),
    };
  }
  const { listen, openMetrics, token } = config.admin;
  const { host, port } = listen;
  return new Admin({ host, port, token, openMetrics, handlers, log, webPages: adminPages(config) });
}

/** Where others scrape this sidecar: a listener on all addresses is reached by the one of the VPN. */
function scrapeHost({ admin }: Config, vpnIp: string | null): string {
  const { host } = admin.listen;
  return (host === '0.0.0.0' || host === '::') && vpnIp !== null ? vpnIp : host;
}

/** Where there are several: each of them. */
function instancesOf({ instances }: LocalService): { readonly instances?: readonly unknown[] } {
  if (!instances.hasSeveral) return {};
  return {
    instances: instances.all.map(({ url, health, inFlight, open }) => ({
      url,
      state: health.isReady ? 'ready' : 'warming',
      reason: health.reason,
      in_flight: inFlight,
      open,
    })),
  };
}
