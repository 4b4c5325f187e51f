/**
 * The dashboard and what stands around it: whole, on the grid, current, and about metrics that exist.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import type { Panel } from '../../dashboards/panel.ts';
import { dashboard } from '../../dashboards/sidecar.ts';
import { Metrics } from '../../sidecar/observe/metrics.ts';
import { boardQueries } from '../support/host/dashboard.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { promtool } from '../support/host/prometheus.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const root = new URL('../../', import.meta.url);
const text = (path: string) => readFileSync(new URL(path, root), 'utf8');
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
const queries = boardQueries(dashboard, '1m');

/** Every series name that /metrics can have, with the labels that its metric was declared with. */
function declared(): Map<string, readonly string[]> {
  const metrics = new Metrics({ version: '0', workerId: 'a', serviceLimit: 1, processMetrics: true });
  const names = new Map<string, readonly string[]>([['up', ['job', 'instance']]]);
  for (const metric of metrics.registry.getMetricsAsArray()) {
    const labels = [...((metric as { labelNames?: string[] }).labelNames ?? []), 'instance', 'job'];
    // Typed as a number by prom-client, a string when it runs.
    if (String(metric.type) !== 'histogram') names.set(metric.name, labels);
    else for (const end of ['_bucket', '_sum', '_count']) names.set(metric.name + end, [...labels, 'le']);
  }
  return names;
}

/** Metric names in PromQL: what is left when strings, braces' contents, groupings and functions are gone. */
function metricsIn(promql: string): string[] {
  const bare = promql
    .replace(/\{[^}]*\}/g, '')
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\b(by|without|on|ignoring)\s*\([^)]*\)/g, ' ');
  return [...bare.matchAll(/[a-zA-Z_:][\w:]*(?!\w*\s*\()/g)]
    .map(([name]) => name)
    .filter((name) => name.includes('_') || name === 'up')
    .filter((name) => !/^(clamp_min|histogram_quantile|min_over_time)$/.test(name));
}

/** Label names in selectors and groupings. */
function labelsIn(promql: string): string[] {
  const matchers = [...promql.matchAll(/\{([^}]*)\}/g)].flatMap(([, inside = '']) => [
    ...inside.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g),
  ]);
  const groupings = [...promql.matchAll(/\b(?:by|without)\s*\(([^)]*)\)/g)].flatMap(([, inside = '']) => [
    ...inside.matchAll(/(\w+)/g),
  ]);
  return [...matchers, ...groupings].map((found) => found[1] ?? '');
}

function assertKnown(promql: string, where: string): void {
  const known = declared();
  const names = metricsIn(promql);
  expectNamed(names.length, `${where}: no metric in ${promql}`).toBeGreaterThan(0);
  const labels = new Set(names.flatMap((name) => known.get(name) ?? []));
  for (const name of names) expectNamed(known.has(name), `${where}: no metric is called ${name}`).toBe(true);
  for (const label of labelsIn(promql))
    expectNamed(labels.has(label), `${where}: none of its metrics has the label ${label}`).toBe(true);
}

describe('the dashboard and its alerts', () => {
  test('the file that Grafana reads is the one that the source builds', () => {
    expectNamed(JSON.parse(text('dashboards/sidecar.json')), 'run: node dashboards/build.ts').toStrictEqual(
      JSON.parse(JSON.stringify(dashboard)),
    );
  });

  test('the frame: fixed uid, a datasource variable, an instance variable, a time range', () => {
    expect(dashboard.uid).toBe('dht-sidecar');
    const variables = new Map(dashboard.templating.list.map((variable) => [variable.name, variable.type]));
    expect([...variables]).toStrictEqual([
      ['datasource', 'datasource'],
      ['instance', 'query'],
    ]);
    for (const key of ['title', 'schemaVersion', 'time', 'refresh'])
      expectNamed(dashboard[key], key).toBeTruthy();
  });

  test('every panel has a title, a description, a unit, queries, and all of them the datasource variable', () => {
    for (const panel of panels) {
      const { title } = panel;
      expectNamed(title.length, `panel ${panel.id}`).toBeGreaterThan(2);
      expectNamed((panel.description ?? '').length, title).toBeGreaterThan(15);
      expectNamed(panel.fieldConfig?.defaults.unit, title).toBeTruthy();
      expectNamed((panel.targets ?? []).length, title).toBeGreaterThan(0);
      expectNamed(panel.datasource?.uid, title).toBe('$datasource');
      const refs = (panel.targets ?? []).map(({ refId }) => refId);
      expectNamed(new Set(refs).size, title).toBe(refs.length);
      for (const target of panel.targets ?? []) expectNamed(target.datasource.uid, title).toBe('$datasource');
    }
  });

  test('panels have ids and titles of their own, lie on the grid and not on each other', () => {
    const { panels: all } = dashboard;
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
    expect(new Set(all.map(({ title }) => title)).size).toBe(all.length);
    const overlap = (a: Panel['gridPos'], b: Panel['gridPos']) =>
      a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
    for (const [at, { title, gridPos }] of all.entries()) {
      expectNamed(gridPos.x, title).toBeGreaterThanOrEqual(0);
      expectNamed(gridPos.w, title).toBeGreaterThan(0);
      expectNamed(gridPos.h, title).toBeGreaterThan(0);
      expectNamed(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (const other of all.slice(at + 1))
        expectNamed(overlap(gridPos, other.gridPos), `${title} on ${other.title}`).toBe(false);
    }
  });

  test('every query names metrics and labels that exist, its instance, and no fixed range', () => {
    for (const { panel, raw, promql } of queries) {
      assertKnown(promql, panel);
      expectNamed(raw, `${panel}: a range other than $__rate_interval`).not.toMatch(/\[\d/);
      expectNamed(promql, `${panel}: a variable that is not there`).not.toMatch(/\$/);
      for (const [selector] of raw.matchAll(/\{[^}]*\}/g))
        expectNamed(selector, panel).toMatch(/instance=~"\$instance"/);
    }
  });

  test('the check of names finds a name that is wrong', () => {
    expect(() => assertKnown('sum(rate(sidecar_local_request_total[1m]))', 'x')).toThrow(
      /no metric is called/,
    );
    expect(() => assertKnown('sum by (rout) (sidecar_attempts_total)', 'x')).toThrow(/has the label rout/);
  });

  test('everything in /stats is on the board', () => {
    const shown = new Set(queries.flatMap(({ promql }) => metricsIn(promql)));
    for (const name of [
      'local_requests',
      'forwarded_requests',
      'cache_hits',
      'cache_misses',
      'dht_lookups',
      'failed_requests',
    ]) {
      expectNamed(shown.has(`sidecar_${name}_total`), name).toBe(true);
    }
    expect(shown.has('sidecar_cache_size')).toBe(true);
    expect(panels.some(({ title }) => title === 'Cache hit rate')).toBe(true);
  });

  test('every alert is about metrics and labels that exist', () => {
    const { groups } = parse(text('deploy/prometheus/alerts.yml')) as {
      groups: { rules: { alert?: string; record?: string; expr: string }[] }[];
    };
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(5);
    for (const rule of rules) assertKnown(rule.expr, rule.alert ?? rule.record ?? '');
  });

  test('Grafana is given the data source under a fixed uid and the folder of the board', () => {
    const sources = parse(text('deploy/grafana/provisioning/datasources/prometheus.yml')) as {
      datasources: { uid: string; type: string }[];
    };
    expect(sources.datasources.map(({ uid, type }) => [uid, type])).toStrictEqual([
      ['dht-sidecar-prometheus', 'prometheus'],
    ]);
    const providers = parse(text('deploy/grafana/provisioning/dashboards/dht-sidecar.yml')) as {
      providers: { type: string; options: { path: string } }[];
    };
    expect(providers.providers.map(({ type, options }) => [type, options.path])).toStrictEqual([
      ['file', '/var/lib/grafana/dashboards'],
    ]);
  });

  const needsPromtool = missingPrograms('promtool');

  testUnless(needsPromtool)("every query parses as Prometheus' own parser reads it", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rules-'));
    onTestEnd(() => rmSync(folder, { recursive: true, force: true }));
    const rules = queries.map(({ promql }, at) => ({ record: `query:${at}`, expr: promql }));
    writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups: [{ name: 'board', rules }] }));
    const { ok, output } = await promtool(['check', 'rules', join(folder, 'rules.yml')]);
    expectNamed(ok, output).toBe(true);
  });

  testUnless(needsPromtool)(
    'promtool accepts the configuration and the rules, and their tests pass',
    async () => {
      const folder = new URL('deploy/prometheus/', root).pathname;
      for (const args of [
        ['check', 'config', `${folder}prometheus.yml`],
        ['check', 'rules', `${folder}alerts.yml`],
        ['test', 'rules', `${folder}alerts.test.yml`],
      ]) {
        const { ok, output } = await promtool(args);
        expectNamed(ok, output).toBe(true);
      }
    },
  );
});
