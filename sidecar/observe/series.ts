/**
 * Series: every metric of the sidecar, declared once with its name, help, labels and buckets.
 *
 * Apart from `metrics.ts`, so that the list can be read (and linted, and compared with the dashboard) without the code
 * that feeds it.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import { Histogram } from './histogram.ts';

/** Decisions take microseconds: 1 µs … 10 ms. */
const DECISION_SECONDS = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2];

/** From a cached answer on loopback to a model that thinks for minutes. */
const LATENCY_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600,
];

export type Series = ReturnType<typeof declareSeries>;

/** Declares all metrics in `registry`; a name that is there already throws. */
export function declareSeries(registry: Registry) {
  const registers = [registry];
  const counter = <T extends string>(name: string, help: string, ...labelNames: T[]) =>
    new Counter<T>({ name: `sidecar_${name}`, help, labelNames, registers });
  const gauge = <T extends string>(name: string, help: string, ...labelNames: T[]) =>
    new Gauge<T>({ name: `sidecar_${name}`, help, labelNames, registers });
  const histogram = <T extends string>(name: string, help: string, buckets: number[], ...labelNames: T[]) =>
    new Histogram<T>({ name: `sidecar_${name}`, help, buckets, labelNames }, registry);

  return {
    // What /stats shows.
    localRequests: counter('local_requests_total', "Apps' requests given to the worker beside this sidecar."),
    forwardedRequests: counter('forwarded_requests_total', "Apps' requests forwarded to another worker."),
    failedRequests: counter('failed_requests_total', "Apps' requests that the mesh failed to serve whole."),
    cacheHits: counter('cache_hits_total', 'Requests that found their service fresh in the finger cache.'),
    cacheMisses: counter('cache_misses_total', 'Requests that had to wait for a lookup.'),
    dhtLookups: counter('dht_lookups_total', 'Lookups in the DHT, refreshes in the background included.'),
    cacheSize: gauge('cache_size', 'Services in the finger cache.'),

    // The path of an app's request.
    requestsInProgress: gauge('requests_in_progress', 'Requests open now, by listener.', 'listener'),
    decisionSeconds: histogram(
      'decision_duration_seconds',
      'Time to choose a worker for one attempt.',
      DECISION_SECONDS,
    ),
    firstByteSeconds: histogram(
      'request_first_byte_seconds',
      "From an app's request to the first byte of its response.",
      LATENCY_SECONDS,
      'service',
      'route',
      'outcome',
    ),
    durationSeconds: histogram(
      'request_duration_seconds',
      "From an app's request to the last byte of its response.",
      LATENCY_SECONDS,
      'service',
      'route',
      'outcome',
    ),
    appRequests: counter(
      'app_requests_total',
      'Requests of apps that have a token of their own, by its name.',
      'app',
      'outcome',
    ),
    attempts: counter('attempts_total', 'Attempts at a worker, by route.', 'route'),
    failedAttempts: counter('failed_attempts_total', 'Attempts that failed, by reason.', 'code'),
    retries: counter('retries_total', 'Attempts made because one before failed, by its reason.', 'code'),
    migratedRequests: counter(
      'moved_requests_total',
      'Requests taken back from one queue and sent to another peer.',
    ),
    retriesRefused: counter('retries_refused_total', 'Retries not made because the budget was spent.'),
    answers: counter('answers_total', 'Answers made by the sidecar itself, by code.', 'listener', 'code'),

    // What this worker serves for others.
    inboundSeconds: histogram(
      'inbound_duration_seconds',
      "From a peer's request to the last byte of its response.",
      LATENCY_SECONDS,
      'service',
      'outcome',
    ),
    workerInFlight: gauge('worker_in_flight', 'Requests that the local worker is serving.', 'service'),
    workerQueued: gauge('worker_queued', 'Requests that wait for a slot of the local worker.', 'service'),
    workerConcurrency: gauge('worker_concurrency', 'Slots of the local worker; 0: no limit.', 'service'),
    workerState: gauge('worker_state', '1 for the state that the local worker is in.', 'state'),
    load: gauge('load_ratio', 'Load announced to peers: 0 idle, 1 full.'),
    loadBySource: gauge('load_source_ratio', 'Load by source; a source that failed has no value.', 'source'),

    // What is known of the mesh.
    peers: gauge('peers', 'Peers known, by state.', 'state'),
    cacheAge: gauge('cache_age_seconds', 'Age of the view of a service.', 'service'),
    cachePeers: gauge('cache_peers', 'Peers known for a service.', 'service'),
    dhtNodes: gauge('dht_nodes', 'DHT nodes in the routing table.'),
    dhtState: gauge('dht_state', '1 for the state that the DHT node is in.', 'state'),
    dhtRejected: counter('dht_rejected_datagrams_total', 'Datagrams without a valid MAC, dropped unread.'),
    refusedInputs: counter('refused_inputs_total', 'Untrusted input refused, by reason.', 'kind', 'reason'),

    certificateEnds: gauge(
      'certificate_expiry_timestamp_seconds',
      'When the certificate of this worker ends, Unix time; one of its own making is renewed before.',
    ),
    ready: gauge('ready', '1 when /readyz answers 200.'),
    buildInfo: gauge('build_info', 'Always 1; who and what this is.', 'version', 'worker_id'),
  };
}
