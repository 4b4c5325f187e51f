/**
 * The load: sends each demand at its time to its entry of each system, and takes the times.
 *
 * Several systems at once get the same demands in the same instants, each with workers of its own. Times run from when
 * a request should have been sent; how late it was sent is told, for a machine that is too busy measures itself. It
 * must not know what is behind an entry.
 */
import http from 'node:http';
import type { Demand } from '../../sim/demand.ts';

export interface LoadResult {
  /** Of those that were answered with 200 after the warm-up. */
  readonly timesMs: number[];
  errors: number;
  /** Status or code → how often. */
  readonly why: Map<string, number>;
  /** How much later than it should each request was sent. */
  readonly lateMs: number[];
}

/** One that is not answered by then is an error. */
const TIMEOUT_MS = 60_000;

export async function sendAll(
  entriesOf: readonly (readonly string[])[],
  demands: readonly Demand[],
  warmUpMs: number,
): Promise<LoadResult[]> {
  const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 1_024 });
  const results = entriesOf.map((): LoadResult => ({ timesMs: [], errors: 0, why: new Map(), lateMs: [] }));
  const startMs = performance.now() + 50;
  const pending: Promise<void>[] = [];
  for (const demand of demands) {
    const dueMs = startMs + demand.atMs;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
    for (const [i, entries] of entriesOf.entries()) {
      const result = results[i] as LoadResult;
      result.lateMs.push(performance.now() - dueMs);
      const url = `${entries[demand.entry]}/?work=${demand.workMs.toFixed(2)}`;
      pending.push(
        send(url, agent, demand.isCheap === false ? 'POST' : 'GET').then((outcome) => {
          if (demand.atMs < warmUpMs) return;
          if (outcome === '200') {
            if (demand.isCheap !== true) result.timesMs.push(performance.now() - dueMs);
          } else {
            result.errors += 1;
            result.why.set(outcome, (result.why.get(outcome) ?? 0) + 1);
          }
        }),
      );
    }
  }
  await Promise.all(pending);
  agent.destroy();
  return results;
}

/** The status when the response is whole, else the code of the fault. */
function send(url: string, agent: http.Agent, method: 'GET' | 'POST'): Promise<string> {
  return new Promise((resolve) => {
    const request = http.request(url, { agent, method }, (response) => {
      response.resume();
      response.on('end', () => resolve(String(response.statusCode)));
      response.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
    request.end();
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('timeout')));
    request.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
