/**
 * Panels of what requests meet: counts and cache, latency, failures. It must not know their place.
 */

import { row, stat, timeSeries } from './panel.ts';
import { ASKED, mostFrequent, of, quantile, ROUTED, share, sumRate } from './queries.ts';

export const OVERVIEW = [
  row('Requests'),
  stat(
    { title: 'Request rate', description: "Apps' requests per second, local and forwarded.", unit: 'reqps' },
    [ROUTED, 'requests'],
    null,
  ),
  stat(
    {
      title: 'Failed',
      description: "Share of apps' requests that the mesh failed to serve whole.",
      unit: 'percentunit',
    },
    [share(sumRate('failed_requests_total'), ROUTED), 'failed'],
    { above: 0.01 },
  ),
  stat(
    {
      title: 'Cache hit rate',
      description:
        'cache_hits / (cache_hits + cache_misses). Low: names that nobody offers, or a TTL too short.',
      unit: 'percentunit',
    },
    [share(sumRate('cache_hits_total'), ASKED), 'hit rate'],
    null,
  ),
  stat(
    {
      title: 'Cache size',
      description: 'Services in the finger caches of the chosen sidecars.',
      unit: 'short',
    },
    [`sum(sidecar_cache_size${of()})`, 'services'],
    null,
  ),
  stat(
    {
      title: 'Fewest peers',
      description: 'Ready peers known to the sidecar that knows the fewest. 0: it can route to nobody.',
      unit: 'short',
    },
    [`min(sidecar_peers${of('state="ready"')})`, 'peers'],
    { below: 1 },
  ),
  stat(
    {
      title: 'Sidecars not ready',
      description: 'Sidecars whose /readyz is not 200; it says why.',
      unit: 'short',
    },
    [`count(sidecar_ready${of()}) - sum(sidecar_ready${of()})`, 'not ready'],
    { above: 1 },
  ),
  timeSeries(
    {
      title: 'Requests by kind',
      description: 'Served by the own worker, forwarded, and failed.',
      unit: 'reqps',
    },
    [sumRate('local_requests_total'), 'local'],
    [sumRate('forwarded_requests_total'), 'forwarded'],
    [sumRate('failed_requests_total'), 'failed'],
  ),
  timeSeries(
    {
      title: 'Finger cache',
      description:
        'Hits, misses and lookups in the DHT. Lookups without misses are refreshes in the background.',
      unit: 'ops',
    },
    [sumRate('cache_hits_total'), 'hits'],
    [sumRate('cache_misses_total'), 'misses'],
    [sumRate('dht_lookups_total'), 'DHT lookups'],
  ),
  timeSeries({ title: 'Outcomes', description: "How apps' requests ended.", unit: 'reqps' }, [
    sumRate('request_duration_seconds_count', 'outcome'),
    '{{outcome}}',
  ]),
  timeSeries(
    {
      title: 'Open requests',
      description: 'Requests open now: of apps (outbound), of peers (inbound).',
      unit: 'short',
    },
    [`sum by (listener) (sidecar_requests_in_progress${of()})`, '{{listener}}'],
  ),
];

export const LATENCY = [
  row('Latency'),
  timeSeries(
    {
      title: 'Duration by route',
      description: 'To the last byte. A tunnel is slower than VPN; the own worker is the floor.',
      unit: 's',
    },
    [quantile(0.5, 'request_duration_seconds', 'route'), 'p50 {{route}}'],
    [quantile(0.99, 'request_duration_seconds', 'route'), 'p99 {{route}}'],
  ),
  timeSeries(
    {
      title: 'First byte by route',
      description: 'To the first byte of the response: what the user of a token stream feels.',
      unit: 's',
    },
    [quantile(0.5, 'request_first_byte_seconds', 'route'), 'p50 {{route}}'],
    [quantile(0.99, 'request_first_byte_seconds', 'route'), 'p99 {{route}}'],
  ),
  timeSeries(
    { title: 'Duration by service', description: 'As an app sees it, 95th percentile.', unit: 's' },
    [quantile(0.95, 'request_duration_seconds', 'service'), '{{service}}'],
  ),
  timeSeries(
    {
      title: 'Served for peers, by service',
      description: 'As the sidecar beside the worker sees it, 95th percentile.',
      unit: 's',
    },
    [quantile(0.95, 'inbound_duration_seconds', 'service'), '{{service}}'],
  ),
  timeSeries(
    {
      title: 'Decision time',
      description: 'Time to choose a worker. Grows with the peers known for the service.',
      unit: 's',
    },
    [quantile(0.5, 'decision_duration_seconds'), 'p50'],
    [quantile(0.99, 'decision_duration_seconds'), 'p99'],
  ),
  timeSeries(
    {
      title: 'Attempts by route',
      description: 'Much by tunnel: the VPN is down, or workers have none.',
      unit: 'ops',
    },
    [sumRate('attempts_total', 'route'), '{{route}}'],
  ),
];

export const FAILURES = [
  row('Failures'),
  timeSeries(
    {
      title: 'Answers made by sidecars',
      description: 'The five most frequent codes; docs/troubleshooting.md explains each.',
      unit: 'reqps',
    },
    [mostFrequent('answers_total', 'listener', 'code'), '{{listener}} {{code}}'],
    [sumRate('answers_total'), 'all'],
  ),
  timeSeries(
    {
      title: 'Failed attempts',
      description: 'By reason; an app does not see those that were retried.',
      unit: 'ops',
    },
    [mostFrequent('failed_attempts_total', 'code'), '{{code}}'],
    [sumRate('failed_attempts_total'), 'all'],
  ),
  timeSeries(
    {
      title: 'Retries',
      description:
        'Made; not made because the budget was spent: then something is wrong for many; and requests that left one ' +
        'queue for another, where their turn came sooner.',
      unit: 'ops',
    },
    [sumRate('retries_total'), 'made'],
    [sumRate('retries_refused_total'), 'refused by the budget'],
    [sumRate('moved_requests_total'), 'moved to another queue'],
  ),
  timeSeries(
    {
      title: 'Input refused',
      description: 'Records, requests, reports and datagrams that were not well-formed or not of this mesh.',
      unit: 'ops',
    },
    [sumRate('refused_inputs_total', 'kind'), '{{kind}}'],
    [sumRate('dht_rejected_datagrams_total'), 'datagram'],
  ),
];
