/**
 * Bench: what a sidecar's memory does, idle and while 1 GiB goes through two of them, each way, with fast and with
 * slow ends.
 *
 * Reads VmRSS of each sidecar's process 20 times a second and prints the growth over the moment before the body.
 * Bounds: idle ≤ 120 MB; growth < 50 MB in each case. Throughput is printed for the eye; a shared machine's figure.
 *
 *   npm run bench:memory [-- --mib 1024]     (Linux: reads /proc)
 */
import http from 'node:http';
import type net from 'node:net';
import { parseArgs } from 'node:util';
import { type Bed, startBed } from './support/two-sidecars.ts';

const { values } = parseArgs({ options: { mib: { type: 'string', default: '1024' } } });
const BODY_BYTES = Number(values.mib) * 1024 * 1024;
const CHUNK = Buffer.alloc(65_536, 'x');
const IDLE_BOUND_MB = 120;
const GROWTH_BOUND_MB = 50;
const SAMPLE_MS = 50;

/** A slow end takes this much and then pauses. */
const SLOW_STEP_BYTES = 8 * 1024 * 1024;
const SLOW_PAUSE_MS = 20;
const SETTLE_MS = 2_000;

const worker = http.createServer((request, response) => {
  if (request.url === '/down') {
    response.writeHead(200, { 'content-length': BODY_BYTES });
    pour(response, BODY_BYTES);
  } else if (request.url === '/up-slow') {
    drainSlowly(request, () => response.end('ok'));
  } else {
    request.resume().on('end', () => response.end('ok'));
  }
});

/** Writes as fast as the reader takes it. */
function pour(target: NodeJS.WritableStream, bytes: number): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      const piece = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= piece.length;
      if (!target.write(piece)) return void target.once('drain', more);
    }
    target.end();
  };
  more();
}

function drainSlowly(source: NodeJS.ReadableStream, done: () => void): void {
  let step = 0;
  source.on('data', (chunk: Buffer) => {
    step += chunk.length;
    if (step < SLOW_STEP_BYTES) return;
    step = 0;
    source.pause();
    setTimeout(() => source.resume(), SLOW_PAUSE_MS);
  });
  source.on('end', done);
}

function download(url: URL, slow: boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const request = http.get(
      { host: url.hostname, port: url.port, path: '/service/bench/down', agent: false },
      (response) => {
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        response.on('aborted', () => reject(new Error('the response broke')));
        if (slow) drainSlowly(response, () => resolve(bytes));
        else response.on('end', () => resolve(bytes));
      },
    );
    request.on('error', reject);
  });
}

function upload(url: URL, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = {
      host: url.hostname,
      port: url.port,
      path: `/service/bench${path}`,
      method: 'PUT',
      agent: false,
    };
    const request = http.request({ ...options, headers: { 'content-length': BODY_BYTES } }, (response) => {
      response
        .resume()
        .on('end', () =>
          response.statusCode === 200
            ? resolve(BODY_BYTES)
            : reject(new Error(`status ${response.statusCode}`)),
        );
    });
    request.on('error', reject);
    pour(request, BODY_BYTES);
  });
}

interface Case {
  readonly name: string;
  run(url: URL): Promise<number>;
}

const CASES: readonly Case[] = [
  { name: 'down, fast reader', run: (url) => download(url, false) },
  { name: 'down, slow reader', run: (url) => download(url, true) },
  { name: 'up, fast worker', run: (url) => upload(url, '/up') },
  { name: 'up, slow worker', run: (url) => upload(url, '/up-slow') },
];

async function measure(bed: Bed, { name, run }: Case): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const before = { app: bed.app.rssMb(), worker: bed.worker.rssMb() };
  const peak = { ...before };
  const sampler = setInterval(() => {
    peak.app = Math.max(peak.app, bed.app.rssMb());
    peak.worker = Math.max(peak.worker, bed.worker.rssMb());
  }, SAMPLE_MS);
  const startMs = performance.now();
  const bytes = await run(new URL(bed.app.outbound));
  const seconds = (performance.now() - startMs) / 1000;
  clearInterval(sampler);
  const growth = { app: peak.app - before.app, worker: peak.worker - before.worker };
  const isGood = bytes === BODY_BYTES && growth.app < GROWTH_BOUND_MB && growth.worker < GROWTH_BOUND_MB;
  const columns = [
    name.padEnd(20),
    growth.app.toFixed(1).padStart(12),
    growth.worker.toFixed(1).padStart(12),
  ];
  console.log(...columns, (bytes / 1048576 / seconds).toFixed(0).padStart(9), isGood ? 'ok' : 'OVER');
  return isGood;
}

await new Promise<void>((resolve) => worker.listen(0, '127.0.0.1', resolve));
const bed = await startBed(`http://127.0.0.1:${(worker.address() as net.AddressInfo).port}`);
let failures = 0;
try {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const idle = { app: bed.app.rssMb(), worker: bed.worker.rssMb() };
  console.log(
    `idle RSS: ${idle.app.toFixed(0)} MB and ${idle.worker.toFixed(0)} MB (bound ${IDLE_BOUND_MB} MB)`,
  );
  if (Math.max(idle.app, idle.worker) > IDLE_BOUND_MB) failures++;
  console.log(`\n${values.mib} MiB through both; growth of RSS in MB (bound ${GROWTH_BOUND_MB})`);
  console.log('case                       app side  worker side     MiB/s');
  for (const each of CASES) if (!(await measure(bed, each))) failures++;
} finally {
  await bed.stop();
  worker.closeAllConnections();
  worker.close();
}
process.exitCode = failures === 0 ? 0 : 1;
