/**
 * Bench: event streams through two sidecars: what 1,000 idle ones cost in memory, and how long an event takes.
 *
 * Memory: VmRSS of each sidecar's process before and with 1,000 streams that have had their first event and then are
 * silent. Bound: 60 MB each. Time: each event carries the monotonic time of its writing; worker and app are this very
 * process, so that its clock is one. 20 streams with 50 events a second each, beside the same directly from the
 * worker. Bound: p99 ≤ 5 ms over the direct way, on a machine that is not busy with something else.
 *
 *   npm run bench:streams [-- --streams 1000]     (Linux: reads /proc)
 */
import http from 'node:http';
import type net from 'node:net';
import { parseArgs } from 'node:util';
import { quantiles } from '../sim/quantiles.ts';
import { startBed } from './support/two-sidecars.ts';

const { values } = parseArgs({ options: { streams: { type: 'string', default: '1000' } } });
const IDLE_STREAMS = Number(values.streams);
const IDLE_BOUND_MB = 60;
const EVENT_BOUND_MS = 5;
const TIMED_STREAMS = 20;
const EVENT_EVERY_MS = 20;
const TIMED_MS = 5_000;
const SETTLE_MS = 2_000;

const worker = http.createServer((request, response) => {
  if (request.url !== '/idle' && request.url !== '/timed') {
    response.end('ok');
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(': begins\n\n');
  if (request.url === '/idle') return;
  const timer = setInterval(() => response.write(`data: ${performance.now()}\n\n`), EVENT_EVERY_MS);
  response.on('close', () => clearInterval(timer));
});

/** Opens a stream; resolves once its first bytes are here. `onText` gets all that comes. */
function open(base: string, path: string, onText: (text: string) => void): Promise<http.ClientRequest> {
  return new Promise((resolve, reject) => {
    const request = http.get(`${base}${path}`, { agent: false }, (response) => {
      response.setEncoding('utf8');
      response.on('error', () => {});
      response.on('data', (text: string) => {
        onText(text);
        resolve(request);
      });
    });
    request.on('error', reject);
  });
}

async function eventTimesMs(base: string): Promise<number[]> {
  const times: number[] = [];
  const streams = await Promise.all(
    Array.from({ length: TIMED_STREAMS }, () =>
      open(base, '/timed', (text) => {
        const nowMs = performance.now();
        for (const [, writtenMs] of text.matchAll(/^data: ([\d.]+)$/gm))
          times.push(nowMs - Number(writtenMs));
      }),
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, TIMED_MS));
  for (const stream of streams) stream.destroy();
  return times;
}

function row(name: string, times: readonly number[]): number {
  const [p50 = 0, p90 = 0, p99 = 0] = quantiles(times);
  const cells = [p50, p90, p99].map((ms) => `${ms.toFixed(2)} ms`.padStart(10));
  console.log(name.padEnd(24), ...cells, String(times.length).padStart(9));
  return p99;
}

await new Promise<void>((resolve) => worker.listen(0, '127.0.0.1', resolve));
const direct = `http://127.0.0.1:${(worker.address() as net.AddressInfo).port}`;
const bed = await startBed(direct);
let failures = 0;
try {
  const mesh = `${bed.app.outbound}/service/bench`;
  console.log('event, write to read         p50        p90        p99    events');
  const directP99 = row('directly', await eventTimesMs(direct));
  const meshP99 = row('through two sidecars', await eventTimesMs(mesh));
  if (meshP99 - directP99 > EVENT_BOUND_MS) failures++;
  console.log(`added at p99: ${(meshP99 - directP99).toFixed(2)} ms (bound ${EVENT_BOUND_MS} ms)\n`);

  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const before = { app: bed.app.rssMb(), worker: bed.worker.rssMb() };
  const idle: http.ClientRequest[] = [];
  for (let i = 0; i < IDLE_STREAMS; i++) idle.push(await open(mesh, '/idle', () => {}));
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const growth = { app: bed.app.rssMb() - before.app, worker: bed.worker.rssMb() - before.worker };
  console.log(
    `${IDLE_STREAMS} idle streams: ${growth.app.toFixed(1)} MB on the app's side, ${growth.worker.toFixed(1)} MB on the worker's (bound ${IDLE_BOUND_MB} MB)`,
  );
  if (Math.max(growth.app, growth.worker) > IDLE_BOUND_MB) failures++;
  for (const stream of idle) stream.destroy();
} finally {
  await bed.stop();
  worker.closeAllConnections();
  worker.close();
}
process.exitCode = failures === 0 ? 0 : 1;
