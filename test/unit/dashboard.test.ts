/**
 * The dashboard and what stands around it: whole, on the grid, current, and about metrics that exist.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { parse } from 'yaml';
import type { Panel } from '../../dashboards/panel.ts';
import { dashboard } from '../../dashboards/sidecar.ts';
import { Metrics } from '../../sidecar/observe/metrics.ts';
import { boardQueries } from '../support/dashboard.ts';
import { missingPrograms, skipUnless } from '../support/needs.ts';
import { promtool } from '../support/prometheus.ts';

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
  assert.ok(names.length > 0, `${where}: no metric in ${promql}`);
  const labels = new Set(names.flatMap((name) => known.get(name) ?? []));
  for (const name of names) assert.ok(known.has(name), `${where}: no metric is called ${name}`);
  for (const label of labelsIn(promql))
    assert.ok(labels.has(label), `${where}: none of its metrics has the label ${label}`);
}

test('the file that Grafana reads is the one that the source builds', () => {
  assert.deepEqual(
    JSON.parse(text('dashboards/sidecar.json')),
    JSON.parse(JSON.stringify(dashboard)),
    'run: node dashboards/build.ts',
  );
});

test('the frame: fixed uid, a datasource variable, an instance variable, a time range', () => {
  assert.equal(dashboard.uid, 'dht-sidecar');
  const variables = new Map(dashboard.templating.list.map((variable) => [variable.name, variable.type]));
  assert.deepEqual(
    [...variables],
    [
      ['datasource', 'datasource'],
      ['instance', 'query'],
    ],
  );
  for (const key of ['title', 'schemaVersion', 'time', 'refresh']) assert.ok(dashboard[key], key);
});

test('every panel has a title, a description, a unit, queries, and all of them the datasource variable', () => {
  for (const panel of panels) {
    const { title } = panel;
    assert.ok(title.length > 2, `panel ${panel.id}`);
    assert.ok((panel.description ?? '').length > 15, title);
    assert.ok(panel.fieldConfig?.defaults.unit, title);
    assert.ok((panel.targets ?? []).length > 0, title);
    assert.equal(panel.datasource?.uid, '$datasource', title);
    const refs = (panel.targets ?? []).map(({ refId }) => refId);
    assert.equal(new Set(refs).size, refs.length, title);
    for (const target of panel.targets ?? []) assert.equal(target.datasource.uid, '$datasource', title);
  }
});

test('panels have ids and titles of their own, lie on the grid and not on each other', () => {
  const { panels: all } = dashboard;
  assert.equal(new Set(all.map(({ id }) => id)).size, all.length);
  assert.equal(new Set(all.map(({ title }) => title)).size, all.length);
  const overlap = (a: Panel['gridPos'], b: Panel['gridPos']) =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
  for (const [at, { title, gridPos }] of all.entries()) {
    assert.ok(gridPos.x >= 0 && gridPos.w > 0 && gridPos.h > 0 && gridPos.x + gridPos.w <= 24, title);
    for (const other of all.slice(at + 1))
      assert.ok(!overlap(gridPos, other.gridPos), `${title} on ${other.title}`);
  }
});

test('every query names metrics and labels that exist, its instance, and no fixed range', () => {
  for (const { panel, raw, promql } of queries) {
    assertKnown(promql, panel);
    assert.doesNotMatch(raw, /\[\d/, `${panel}: a range other than $__rate_interval`);
    assert.doesNotMatch(promql, /\$/, `${panel}: a variable that is not there`);
    for (const [selector] of raw.matchAll(/\{[^}]*\}/g))
      assert.match(selector, /instance=~"\$instance"/, panel);
  }
});

test('the check of names finds a name that is wrong', () => {
  assert.throws(() => assertKnown('sum(rate(sidecar_local_request_total[1m]))', 'x'), /no metric is called/);
  assert.throws(() => assertKnown('sum by (rout) (sidecar_attempts_total)', 'x'), /has the label rout/);
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
    assert.ok(shown.has(`sidecar_${name}_total`), name);
  }
  assert.ok(shown.has('sidecar_cache_size'));
  assert.ok(panels.some(({ title }) => title === 'Cache hit rate'));
});

test('every alert is about metrics and labels that exist', () => {
  const { groups } = parse(text('deploy/prometheus/alerts.yml')) as {
    groups: { rules: { alert?: string; record?: string; expr: string }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length > 5);
  for (const rule of rules) assertKnown(rule.expr, rule.alert ?? rule.record ?? '');
});

test('Grafana is given the data source under a fixed uid and the folder of the board', () => {
  const sources = parse(text('deploy/grafana/provisioning/datasources/prometheus.yml')) as {
    datasources: { uid: string; type: string }[];
  };
  assert.deepEqual(
    sources.datasources.map(({ uid, type }) => [uid, type]),
    [['dht-sidecar-prometheus', 'prometheus']],
  );
  const providers = parse(text('deploy/grafana/provisioning/dashboards/dht-sidecar.yml')) as {
    providers: { type: string; options: { path: string } }[];
  };
  assert.deepEqual(
    providers.providers.map(({ type, options }) => [type, options.path]),
    [['file', '/var/lib/grafana/dashboards']],
  );
});

const needsPromtool = { skip: skipUnless(missingPrograms('promtool')) };

test("every query parses as Prometheus' own parser reads it", needsPromtool, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rules-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const rules = queries.map(({ promql }, at) => ({ record: `query:${at}`, expr: promql }));
  writeFileSync(join(folder, 'rules.yml'), JSON.stringify({ groups: [{ name: 'board', rules }] }));
  const { ok, output } = await promtool(['check', 'rules', join(folder, 'rules.yml')]);
  assert.ok(ok, output);
});

test('promtool accepts the configuration and the rules, and their tests pass', needsPromtool, async () => {
  const folder = new URL('deploy/prometheus/', root).pathname;
  for (const args of [
    ['check', 'config', `${folder}prometheus.yml`],
    ['check', 'rules', `${folder}alerts.yml`],
    ['test', 'rules', `${folder}alerts.test.yml`],
  ]) {
    const { ok, output } = await promtool(args);
    assert.ok(ok, output);
  }
});
