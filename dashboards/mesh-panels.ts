/**
 * Panels of the mesh itself: load, peers and discovery, the sidecars' own processes. It must not know their place.
 */

import { row, table, timeSeries } from './panel.ts';
import { of } from './queries.ts';

export const LOAD = [
  row('Load of the workers'),
  timeSeries({ title: 'Load', description: 'As announced to peers: 0 idle, 1 full.', unit: 'percentunit' }, [
    `sidecar_load_ratio${of()}`,
    '{{instance}}',
  ]),
  timeSeries(
    {
      title: 'Load by source',
      description: 'The highest of these is the load. A source that failed has no line.',
      unit: 'percentunit',
    },
    [`max by (source) (sidecar_load_source_ratio${of()})`, '{{source}}'],
  ),
  timeSeries(
    {
      title: 'In flight and queued',
      description: 'At the workers. A queue that does not empty: too few workers.',
      unit: 'short',
    },
    [`sum by (service) (sidecar_worker_in_flight${of()})`, '{{service}}'],
    [`sum by (service) (sidecar_worker_queued${of()})`, '{{service}} queued'],
  ),
  timeSeries(
    {
      title: 'Slots',
      description: 'Requests that the workers serve at once; 0: not limited.',
      unit: 'short',
    },
    [`sum by (service) (sidecar_worker_concurrency${of()})`, '{{service}}'],
  ),
];

export const PEERS = [
  row('Peers and discovery'),
  timeSeries(
    { title: 'Peers by state', description: 'Known to the chosen sidecars together.', unit: 'short' },
    [`sum by (state) (sidecar_peers${of()})`, '{{state}}'],
  ),
  timeSeries(
    {
      title: 'Peers by sidecar',
      description: 'One that knows far fewer than the others has trouble with the DHT.',
      unit: 'short',
    },
    [`sum by (instance) (sidecar_peers${of()})`, '{{instance}}'],
  ),
  timeSeries(
    {
      title: 'Age of the view',
      description: 'The oldest view of each service. Above the TTL: refreshes fail.',
      unit: 's',
    },
    [`max by (service) (sidecar_cache_age_seconds${of()})`, '{{service}}'],
  ),
  timeSeries(
    {
      title: 'Peers by service',
      description: 'The fewest that any sidecar knows for a service.',
      unit: 'short',
    },
    [`min by (service) (sidecar_cache_peers${of()})`, '{{service}}'],
  ),
  timeSeries({ title: 'DHT nodes', description: 'In the routing table of each sidecar.', unit: 'short' }, [
    `sidecar_dht_nodes${of()}`,
    '{{instance}}',
  ]),
  timeSeries(
    { title: 'DHT and worker states', description: 'How many sidecars are in each.', unit: 'short' },
    [`sum by (state) (sidecar_dht_state${of()})`, 'DHT {{state}}'],
    [`sum by (state) (sidecar_worker_state${of()})`, 'worker {{state}}'],
  ),
  table(
    { title: 'Sidecars', description: 'Who is scraped, and which version runs there.', unit: 'short' },
    [`sidecar_build_info${of()}`, ''],
    { instance: 'instance', worker_id: 'worker', version: 'version' },
    ['Time', 'Value', '__name__', 'job'],
  ),
];

export const PROCESS = [
  row('Process'),
  timeSeries({ title: 'Memory', description: 'Resident set of each sidecar.', unit: 'bytes' }, [
    `process_resident_memory_bytes${of()}`,
    '{{instance}}',
  ]),
  timeSeries({ title: 'CPU', description: 'Cores that each sidecar uses.', unit: 'short' }, [
    `rate(process_cpu_seconds_total${of()}[$__rate_interval])`,
    '{{instance}}',
  ]),
  timeSeries(
    {
      title: 'Event loop',
      description: '99th percentile of the delay: above some ms, every request waits.',
      unit: 's',
    },
    [`nodejs_eventloop_lag_p99_seconds${of()}`, '{{instance}}'],
  ),
];
