/**
 * From the start of a worker's sidecar to the first request that another sidecar routes to it, and the same for a
 * bare Node server: the floor that the machine sets.
 *
 * An app that asks all the time stands for the one who waits. Either nobody offers the service and it has been told
 * so, or another worker serves it meanwhile. Each worker leaves in order before the next one comes, so that no dead
 * one is in the way. It must not print.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { type Bed, freePort, type SidecarProcess, startBed, until } from './two-sidecars.ts';

/** Milliseconds from the start of the process, one of each per start. */
export interface StartTimes {
  /** A bare Node process answers HTTP. */
  readonly floorMs: readonly number[];
  /** The sidecar answers on its admin port. */
  readonly listensMs: readonly number[];
  /** The other sidecar has routed a request to the only worker of a service. */
  readonly onlyMs: readonly number[];
  /** … to the second worker of a service that is in use. */
  readonly secondMs: readonly number[];
}

interface Start {
  readonly sidecar: SidecarProcess;
  readonly listensMs: number;
  readonly servedMs: number;
}

const BARE_SERVER = `require('node:http').createServer((_, answer) => answer.end()).listen(process.argv[1], '127.0.0.1')`;

/** An empty answer is believed for so long (design, finger cache); the starts are spread over it. */
const EMPTY_TTL_MS = 1_000;
const ASK_PAUSE_MS = 5;
const GIVE_UP_MS = 60_000;

export async function measureStarts(count: number): Promise<StartTimes> {
  const floorMs: number[] = [];
  for (let round = 0; round < count; round += 1) floorMs.push(await startBareServer());
  const worker = http.createServer((_, response) => response.end());
  await new Promise<void>((resolve) => worker.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(worker.address() as net.AddressInfo).port}`;
  const bed = await startBed(url);
  const only: Start[] = [];
  const second: Start[] = [];
  try {
    for (let round = 0; round < count; round += 1) {
      const service = `service-${round}`;
      await (await fetch(`${bed.app.outbound}/service/${service}/`)).arrayBuffer();
      await pause((EMPTY_TTL_MS * round) / count);
      const first = await startWorker(bed, url, `only-${round}`, service);
      const other = await startWorker(bed, url, `second-${round}`, service);
      only.push(first);
      second.push(other);
      await Promise.all([leave(first.sidecar), leave(other.sidecar)]);
    }
  } finally {
    await bed.stop();
    worker.closeAllConnections();
    worker.close();
  }
  return {
    floorMs,
    listensMs: [...only, ...second].map(({ listensMs }) => listensMs),
    onlyMs: only.map(({ servedMs }) => servedMs),
    secondMs: second.map(({ servedMs }) => servedMs),
  };
}

async function startBareServer(): Promise<number> {
  const port = await freePort();
  const startedMs = performance.now();
  const child = spawn(process.execPath, ['-e', BARE_SERVER, String(port)], { stdio: 'ignore' });
  const gone = once(child, 'exit');
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${port}/`)).ok);
    return performance.now() - startedMs;
  } finally {
    child.kill('SIGKILL');
    await gone;
  }
}

async function startWorker(bed: Bed, url: string, id: string, service: string): Promise<Start> {
  const startedMs = performance.now();
  const listening = bed
    .startSidecar({
      SIDECAR_WORKER_ID: id,
      SIDECAR_SERVICES: `${service}=${url}`,
      SIDECAR_BOOTSTRAP: bed.worker.dht,
      SIDECAR_DRAIN_ACCEPT: '0s',
    })
    .then((sidecar) => ({ sidecar, listensMs: performance.now() - startedMs }));
  const served = askUntilServedBy(id, `${bed.app.outbound}/service/${service}/`);
  const [started, servedAtMs] = await Promise.all([listening, served]);
  return { ...started, servedMs: servedAtMs - startedMs };
}

/** The time at which `id` has answered. */
async function askUntilServedBy(id: string, url: string): Promise<number> {
  const endMs = performance.now() + GIVE_UP_MS;
  while (performance.now() < endMs) {
    const answer = await fetch(url);
    await answer.arrayBuffer();
    if (answer.ok && answer.headers.get('sidecar-worker') === id) return performance.now();
    await pause(ASK_PAUSE_MS);
  }
  throw new Error(`${id} got no request within ${GIVE_UP_MS / 1000} s`);
}

async function leave({ child }: SidecarProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await gone;
}
