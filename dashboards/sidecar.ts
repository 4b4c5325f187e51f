/**
 * The dashboard of a mesh: everything in /stats, latency by route, failures, load, peers.
 *
 * Written in TypeScript, because forty panels of JSON by hand drift apart. It must not know Grafana's JSON
 * beyond the frame of a dashboard.
 */

import { LOAD, PEERS, PROCESS } from './mesh-panels.ts';
import { DATASOURCE, type Panel, placed } from './panel.ts';
import { FAILURES, LATENCY, OVERVIEW } from './request-panels.ts';

interface Variable {
  readonly name: string;
  readonly type: 'datasource' | 'query';
  /** What "All" puts in place of the variable. */
  readonly allValue?: string;
  readonly [more: string]: unknown;
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly [more: string]: unknown;
}

export const dashboard: Dashboard = {
  uid: 'dht-sidecar',
  title: 'dht-sidecar',
  description: 'Requests, latency, failures, load and peers of a mesh of sidecars.',
  tags: ['dht-sidecar'],
  schemaVersion: 39,
  editable: true,
  graphTooltip: 1,
  refresh: '10s',
  time: { from: 'now-30m', to: 'now' },
  timezone: 'browser',
  annotations: { list: [] },
  links: [],
  templating: {
    list: [
      {
        name: 'datasource',
        label: 'Data source',
        type: 'datasource',
        query: 'prometheus',
        current: {},
        hide: 0,
      },
      {
        name: 'instance',
        label: 'Sidecar',
        type: 'query',
        datasource: DATASOURCE,
        query: { query: 'label_values(sidecar_build_info, instance)', refId: 'instance' },
        refresh: 2,
        multi: true,
        includeAll: true,
        allValue: '.*',
        current: { text: ['All'], value: ['$__all'] },
        sort: 1,
        hide: 0,
      },
    ],
  },
  panels: placed([...OVERVIEW, ...LATENCY, ...FAILURES, ...LOAD, ...PEERS, ...PROCESS]),
};
