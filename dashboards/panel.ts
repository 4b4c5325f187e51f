/**
 * Panels: the parts of Grafana's dashboard JSON that are used here, as types, and the grid they lie on.
 *
 * A hundred lines of our own in place of an SDK of several thousand: what this board needs of the schema is
 * small and has been stable since version 8. It must not know any metric.
 */

/** Every query names the data source by the dashboard's variable, so that the file works wherever it is put. */
export const DATASOURCE = { type: 'prometheus', uid: '$datasource' } as const;
const GRID_COLUMNS = 24;

export interface Target {
  readonly refId: string;
  readonly datasource: typeof DATASOURCE;
  readonly expr: string;
  readonly legendFormat: string;
  readonly instant: boolean;
  readonly range: boolean;
  readonly format: 'time_series' | 'table';
}

interface GridPosition {
  readonly h: number;
  readonly w: number;
  readonly x: number;
  readonly y: number;
}

export interface Panel {
  readonly id: number;
  readonly type: 'timeseries' | 'stat' | 'table' | 'row';
  readonly title: string;
  readonly description?: string;
  readonly gridPos: GridPosition;
  readonly datasource?: typeof DATASOURCE;
  readonly targets?: readonly Target[];
  readonly fieldConfig?: {
    readonly defaults: { readonly unit: string };
    readonly overrides: readonly object[];
  };
  readonly options?: object;
  readonly transformations?: readonly object[];
  readonly collapsed?: boolean;
  readonly panels?: readonly Panel[];
}

/** A panel before it has its place: `w` columns of 24, `h` rows. */
export interface Draft {
  readonly w: number;
  readonly h: number;
  readonly panel: Omit<Panel, 'id' | 'gridPos'>;
}

export interface Text {
  readonly title: string;
  /** What it shows and what to make of it. */
  readonly description: string;
  /** Of Grafana's unit names. */
  readonly unit: string;
}

/** PromQL and its legend (`{{label}}` is filled in). */
export type Query = readonly [expr: string, legend: string];

export function row(title: string): Draft {
  return { w: GRID_COLUMNS, h: 1, panel: { type: 'row', title, collapsed: false, panels: [] } };
}

export function timeSeries(text: Text, ...queries: readonly Query[]): Draft {
  return {
    w: 12,
    h: 8,
    panel: {
      type: 'timeseries',
      title: text.title,
      description: text.description,
      datasource: DATASOURCE,
      targets: queries.map(([expr, legend], at) => target(at, expr, legend, 'range')),
      fieldConfig: {
        defaults: {
          unit: text.unit,
          ...{ min: 0, custom: { drawStyle: 'line', lineWidth: 1, fillOpacity: 8, showPoints: 'never' } },
        },
        overrides: [],
      },
      options: {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },
  };
}

/** One number; from `bad` on it is red. */
export function stat(
  text: Text,
  query: Query,
  bad: { readonly above: number } | { readonly below: number } | null,
): Draft {
  return {
    w: 4,
    h: 4,
    panel: {
      type: 'stat',
      title: text.title,
      description: text.description,
      datasource: DATASOURCE,
      targets: [target(0, query[0], query[1], 'instant')],
      fieldConfig: {
        defaults: { unit: text.unit, ...{ thresholds: { mode: 'absolute', steps: steps(bad) } } },
        overrides: [],
      },
      options: {
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
        colorMode: 'value',
        graphMode: 'none',
        textMode: 'value',
        justifyMode: 'auto',
        orientation: 'auto',
      },
    },
  };
}

/** One line per series, its labels as columns; `columns` names them and gives their order. */
export function table(
  text: Text,
  query: Query,
  columns: Readonly<Record<string, string>>,
  hidden: readonly string[],
): Draft {
  return {
    w: 24,
    h: 8,
    panel: {
      type: 'table',
      title: text.title,
      description: text.description,
      datasource: DATASOURCE,
      targets: [target(0, query[0], query[1], 'table')],
      fieldConfig: { defaults: { unit: text.unit }, overrides: [] },
      options: { showHeader: true, cellHeight: 'sm' },
      transformations: [
        {
          id: 'organize',
          options: {
            renameByName: columns,
            indexByName: Object.fromEntries(Object.keys(columns).map((name, at) => [name, at])),
            excludeByName: Object.fromEntries(hidden.map((name) => [name, true])),
          },
        },
      ],
    },
  };
}

/** Places the drafts from left to right, beginning a new line where one does not fit, and numbers them. */
export function placed(drafts: readonly Draft[]): readonly Panel[] {
  let x = 0;
  let y = 0;
  let lineHeight = 0;
  return drafts.map(({ w, h, panel }, at) => {
    if (x + w > GRID_COLUMNS) {
      x = 0;
      y += lineHeight;
      lineHeight = 0;
    }
    const gridPos = { h, w, x, y };
    x += w;
    lineHeight = Math.max(lineHeight, h);
    return { id: at + 1, gridPos, ...panel };
  });
}

function target(at: number, expr: string, legendFormat: string, kind: 'range' | 'instant' | 'table'): Target {
  return {
    refId: String.fromCharCode(65 + at),
    datasource: DATASOURCE,
    expr,
    legendFormat,
    instant: kind !== 'range',
    range: kind === 'range',
    format: kind === 'table' ? 'table' : 'time_series',
  };
}

function steps(bad: Parameters<typeof stat>[2]): readonly object[] {
  if (bad === null) return [{ color: 'text', value: null }];
  return 'above' in bad
    ? [
        { color: 'green', value: null },
        { color: 'red', value: bad.above },
      ]
    : [
        { color: 'red', value: null },
        { color: 'green', value: bad.below },
      ];
}
