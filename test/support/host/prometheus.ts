/**
 * A real Prometheus for tests: started on a free port with a fresh store, asked, stopped.
 *
 * The real program rather than a stand-in, because what a dashboard needs is that Prometheus itself scrapes,
 * parses and answers.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPrograms, programPath } from './needs.ts';

export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Prometheus {
  readonly url: string;
  /** Instant query; throws with Prometheus' message when it does not parse. */
  query(promql: string): Promise<readonly Sample[]>;
  /** Until the query has a result, asking each 100 ms; throws after `timeoutMs`. */
  waitFor(promql: string, timeoutMs: number): Promise<readonly Sample[]>;
  stop(): Promise<void>;
}

/** Starts Prometheus with `config` (YAML; JSON is YAML); resolves when it is ready. The caller stops it. */
export async function startPrometheus(config: string): Promise<Prometheus> {
  const program = needed('prometheus');
  const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
  const configPath = join(folder, 'prometheus.yml');
  writeFileSync(configPath, config);
  const child = spawn(
    program,
    [
      `--config.file=${configPath}`,
      `--storage.tsdb.path=${join(folder, 'tsdb')}`,
      '--storage.tsdb.retention.time=1h',
      '--web.listen-address=127.0.0.1:0',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const stop = () => end(child, folder);
  try {
    const url = await listening(child);
    await ready(url, child);
    return {
      url,
      stop,
      query: (promql) => query(url, promql),
      waitFor: (promql, ms) => waitFor(url, promql, ms),
    };
  } catch (err) {
    await stop();
    throw err;
  }
}

/** Throws what to do where it is missing; tests that may be skipped say so by `testUnless` before. */
function needed(name: string): string {
  const path = programPath(name);
  if (path === null) throw new Error(`this ${missingPrograms(name)}`);
  return path;
}

/** Runs promtool with `input` on its standard input. */
export function promtool(
  args: readonly string[],
  input = '',
): Promise<{ readonly ok: boolean; readonly output: string }> {
  const program = needed('promtool');
  return new Promise((resolve) => {
    const child = execFile(program, args, (err, stdout, stderr) =>
      resolve({ ok: err === null, output: stdout + stderr }),
    );
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Its log names the port that it got. */
function listening(child: ChildProcess): Promise<string> {
  let log = '';
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`prometheus ended with ${code}:\n${log}`)));
    child.stderr?.setEncoding('utf8');
    child.stderr?.on('data', (text: string) => {
      if (log.length < 65_536) log += text;
      const found = /msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)/.exec(log);
      if (found !== null) resolve(`http://${found[1]}`);
    });
  });
}

async function ready(url: string, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const answer = await fetch(`${url}/-/ready`);
    await answer.arrayBuffer();
    if (answer.ok) return;
    await pause();
  }
  throw new Error(`prometheus ended with ${child.exitCode}`);
}

interface QueryAnswer {
  readonly status: string;
  readonly error?: string;
  readonly data?: { readonly result: readonly { metric: Record<string, string>; value: [number, string] }[] };
}

async function query(url: string, promql: string): Promise<readonly Sample[]> {
  const answer = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(promql)}`);
  const body = (await answer.json()) as QueryAnswer;
  if (body.status !== 'success') throw new Error(`${body.error ?? 'query failed'}: ${promql}`);
  return (body.data?.result ?? []).map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
}

async function waitFor(url: string, promql: string, timeoutMs: number): Promise<readonly Sample[]> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await query(url, promql);
    if (found.length > 0) return found;
    if (performance.now() > deadline) throw new Error(`no result within ${timeoutMs} ms: ${promql}`);
    await pause();
  }
}

/** Prometheus tells nobody when it has scraped: asking again is all there is. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 100));
}

async function end(child: ChildProcess, folder: string): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(force);
  }
  rmSync(folder, { recursive: true, force: true });
}
