/**
 * The outcome of the demo, as the object that `--json` prints and as text for people.
 *
 * Both from one object, so that they cannot disagree. Names in JSON are those of `/stats` where they mean the same.
 */
import { table } from '../commands/table.ts';
import { numberOf } from '../core/json.ts';
import type { RequestKind } from './app-request.ts';
import type { Comeback } from './comeback.ts';
import type { MeshWorker } from './mesh-worker.ts';
import { FORWARDED_KINDS, type Tally } from './tally.ts';

/** What `--json` prints. */
export interface DemoSummary {
  /** That the app made, and of those the ones that it had to give up. */
  readonly requests: number;
  readonly failed: number;
  /** Answers by worker_id. */
  readonly per_worker: Readonly<Record<string, number>>;
  readonly per_kind: Readonly<Record<RequestKind, number>>;
  /** 0..1, of the app's sidecar. */
  readonly cache_hit_rate: number | null;
  readonly dht_lookups: number | null;
  /** Of whole POST and GET requests to other workers, as the app saw them. */
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
  /** The same of the service beside the app, and to the first event of streams. */
  readonly local_p50_ms: number | null;
  readonly stream_first_event_p50_ms: number | null;
  /** Answers for which the sidecar made more than one attempt, and those that the app had to ask for again. */
  readonly retried: number;
  readonly resumed: number;
  /** worker_id of the one that died, and again when it was started again; null with one worker. */
  readonly killed: string | null;
  readonly restarted: string | null;
  /** Since the traffic began. */
  readonly killed_at_s: number | null;
  readonly restarted_at_s: number | null;
  /** From the restart to the first response; null: never. */
  readonly used_again_after_s: number | null;
  readonly lasted_s: number;
  /** The first few, in words. */
  readonly failures: readonly string[];
  /** `/stats` of the app's sidecar. */
  readonly stats: Readonly<Record<string, unknown>>;
}

export interface SummaryParts {
  readonly tally: Tally;
  readonly comeback: Comeback;
  readonly stats: Readonly<Record<string, unknown>>;
  readonly lastedMs: number;
}

export function makeSummary({ tally, comeback, stats, lastedMs }: SummaryParts): DemoSummary {
  const { killedAtMs, restartedAtMs, usedAfterMs, workerId } = comeback;
  return {
    requests: tally.requests,
    failed: tally.failed,
    per_worker: Object.fromEntries([...tally.perWorker].sort(([a], [b]) => a.localeCompare(b))),
    per_kind: tally.perKind,
    cache_hit_rate: numberOf(stats.cache_hit_rate),
    dht_lookups: numberOf(stats.dht_lookups),
    p50_ms: tally.percentileMs(0.5, FORWARDED_KINDS),
    p99_ms: tally.percentileMs(0.99, FORWARDED_KINDS),
    local_p50_ms: tally.percentileMs(0.5, ['local']),
    stream_first_event_p50_ms: tally.percentileMs(0.5, ['stream']),
    retried: tally.retried,
    resumed: tally.resumed,
    killed: killedAtMs === null ? null : workerId,
    restarted: restartedAtMs === null ? null : workerId,
    killed_at_s: seconds(killedAtMs),
    restarted_at_s: seconds(restartedAtMs),
    used_again_after_s: seconds(usedAfterMs),
    lasted_s: seconds(lastedMs) ?? 0,
    failures: tally.failures,
    stats,
  };
}

/** Nothing failed, and the worker that died was used again. */
export function isGood(report: DemoSummary): boolean {
  return report.failed === 0 && (report.killed === null || report.used_again_after_s !== null);
}

export function summaryText(report: DemoSummary, workers: readonly MeshWorker[]): string {
  const forwarded = workers.reduce((sum, { traits }) => sum + (report.per_worker[traits.id] ?? 0), 0);
  const rows = workers.map(({ traits: { id, load, workMs } }) => {
    const answers = report.per_worker[id] ?? 0;
    const share = forwarded === 0 ? null : `${((100 * answers) / forwarded).toFixed(0)} %`;
    return [id, load.toFixed(1), `${workMs} ms`, answers, share];
  });
  const { per_kind: kinds } = report;
  const lines = [
    '',
    table(['WORKER', 'LOAD', 'TAKES', 'ANSWERS', 'SHARE'], rows),
    `requests        ${report.requests} in ${report.lasted_s} s: ${kinds.post} POST, ${kinds.get} GET, ${kinds.stream} streams, ${kinds.local} local`,
    `failed          ${report.failed}`,
    `killed          ${story(report)}`,
    `made good       ${report.retried} by the sidecar (another attempt), ${report.resumed} by the app (a broken response asked for again)`,
    `cache hit rate  ${report.cache_hit_rate === null ? '-' : `${(100 * report.cache_hit_rate).toFixed(1)} %`}, ${report.dht_lookups ?? '-'} DHT lookups`,
    `latency         p50 ${report.p50_ms ?? '-'} ms, p99 ${report.p99_ms ?? '-'} ms; local p50 ${report.local_p50_ms ?? '-'} ms; first event of a stream p50 ${report.stream_first_event_p50_ms ?? '-'} ms`,
    ...report.failures.map((failure) => `failure         ${failure}`),
  ];
  return `${lines.join('\n')}\n`;
}

function story({ killed, killed_at_s, restarted_at_s, used_again_after_s }: DemoSummary): string {
  if (killed === null) return 'nobody';
  const back = used_again_after_s === null ? 'not used again' : `used again ${used_again_after_s} s later`;
  return `${killed} at ${killed_at_s} s, started again at ${restarted_at_s} s, ${back}`;
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms / 100) / 10;
}
