/**
 * Our sidecars: one beside each worker, and as many without a worker as there are entries; all as processes.
 *
 * They find each other by a private DHT on loopback, as in a fleet; nothing tells an entry what a worker is but the
 * worker's own sidecar. It must not know the demands.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { encodeReport } from '../../sidecar/core/peers/load-report.ts';
import { type LogLine, modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { until } from '../support/two-sidecars.ts';
import type { Backend } from './proxies.ts';
import type { System } from './system.ts';

const MAIN = modulePath('../main');
const SERVICE = 'bench';

/** As long as the others let it get: what is compared is waiting, not turning away. */
const QUEUE = '100000';

/** Several rounds of probes. */
const WATCH_MS = 8_000;

/** As `self.ts` writes it on a response. */
const ANSWER_FIELD = `sidecar-load: ${encodeReport({
  epoch: 1_702_150_000_000,
  seq: 10_000,
  state: 'ready',
  load: 0.875,
  service: SERVICE,
  inFlight: 7,
  queued: 0,
  concurrency: 8,
  oldestMs: null,
  fullAt: null,
  fullForMs: 0,
  serviceMs: 123.45,
  mine: 2,
  activeCallers: 4,
})}\r\n`;

interface Addresses {
  readonly outbound: string;
  readonly admin: string;
}

interface Started extends Addresses {
  readonly process: TiedProcess;
}

export async function startSidecars(
  policy: string,
  workers: readonly Backend[],
  entries: number,
): Promise<System> {
  const meshKey = randomBytes(32).toString('hex');
  const bootstrap = run('bootstrap', meshKey, ['bootstrap', '--dht-listen', '127.0.0.1:0'], {});
  const node = await bootstrap.line(({ address }) => (typeof address === 'string' ? address : null));
  const start = async (id: string, env: Record<string, string>): Promise<Started> => {
    const process = run(id, meshKey, ['run'], { SIDECAR_WORKER_ID: id, SIDECAR_BOOTSTRAP: node, ...env });
    return { process, ...(await process.line(addressesOf)) };
  };
  const beside = await Promise.all(
    workers.map(({ port, slots }, i) =>
      start(`worker-${i}`, {
        SIDECAR_SERVICES: `${SERVICE}=http://127.0.0.1:${port}`,
        SIDECAR_CONCURRENCY: String(slots),
        SIDECAR_QUEUE: QUEUE,
      }),
    ),
  );
  const doors = await Promise.all(
    Array.from({ length: entries }, (_, i) => start(`entry-${i}`, { SIDECAR_POLICY: policy })),
  );
  // Nobody asks this one for anything: what an entry costs anyway.
  const bystander = await start('bystander', { SIDECAR_POLICY: policy });
  const all = [...beside, ...doors, bystander];
  for (const door of doors) {
    await until(async () => (await fetch(`http://${door.outbound}/service/${SERVICE}/?work=0`)).ok, 60_000);
    await until(async () => (await readyPeers(door)) === workers.length, 60_000);
  }
  const startedMs = performance.now();
  const atStart = { doorsMs: cpuOf(doors), besideMs: cpuOf(beside) };
  return {
    name: `sidecars ${policy}`,
    entries: doors.map(({ outbound }) => `http://${outbound}/service/${SERVICE}`),
    async befall(mishap) {
      // The machine dies, and not the worker alone.
      if (mishap.kind === 'dies') await beside[mishap.worker]?.process.kill();
    },
    async notes() {
      const seconds = (performance.now() - startedMs) / 1000;
      const cpuShare = (part: readonly Started[], spentMs: number): string =>
        `${(spentMs / 10 / seconds / part.length).toFixed(1)} %`;
      const doorsMs = cpuOf(doors) - atStart.doorsMs;
      const besideMs = cpuOf(beside) - atStart.besideMs;
      return [
        `CPU per sidecar under load ${cpuShare(doors, doorsMs)} of a core (entry), ${cpuShare(beside, besideMs)} (worker)`,
        watchingText(await Promise.all([costOf(doors), costOf([bystander])]), workers.length),
      ].join('; ');
    },
    async stop() {
      await Promise.all([bootstrap, ...all.map(({ process }) => process)].map((process) => process.kill()));
    },
  };
}

function run(
  name: string,
  meshKey: string,
  args: readonly string[],
  env: Record<string, string>,
): TiedProcess {
  return new TiedProcess({
    name,
    module: MAIN,
    args,
    env: {
      PATH: process.env.PATH,
      SIDECAR_MESH_KEY: meshKey,
      SIDECAR_VPN_IP: '127.0.0.1',
      SIDECAR_VPN_CIDR: '127.0.0.0/8',
      SIDECAR_OUTBOUND: '127.0.0.1:0',
      SIDECAR_INBOUND: '127.0.0.1:0',
      SIDECAR_ADMIN: '127.0.0.1:0',
      ...env,
    },
  });
}

function addressesOf({ address }: LogLine): Addresses | null {
  if (typeof address !== 'object' || address === null) return null;
  const { outbound, admin } = address as Readonly<Record<string, unknown>>;
  return typeof outbound === 'string' && typeof admin === 'string' ? { outbound, admin } : null;
}

async function readyPeers({ admin }: Addresses): Promise<number> {
  const answer = await fetch(`http://${admin}/peers?service=${SERVICE}`);
  const { peers } = (await answer.json()) as { peers: { state: string }[] };
  return peers.filter(({ state }) => state === 'ready').length;
}

interface Cost {
  readonly bytesPerSecond: number;
  readonly cpuRatio: number;
}

/** Of one entry, on the average of all. */
async function costOf(doors: readonly Started[]): Promise<Cost> {
  const before = { bytes: bytesOf(doors), ms: cpuOf(doors) };
  await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
  return {
    bytesPerSecond: (1000 * (bytesOf(doors) - before.bytes)) / WATCH_MS / doors.length,
    cpuRatio: (cpuOf(doors) - before.ms) / WATCH_MS / doors.length,
  };
}

/** What it costs an entry to know the state of its peers: by probes while no response tells it, and on each response. */
function watchingText([used, unused]: readonly [Cost, Cost], peers: number): string {
  const bytes = (used.bytesPerSecond - unused.bytesPerSecond) / peers;
  const share = (100 * (used.cpuRatio - unused.cpuRatio)) / peers;
  return [
    `watching ${peers} idle peers: ${bytes.toFixed(0)} bytes and ${share.toFixed(2)} % of a core per peer and second`,
    `(${(100 * unused.cpuRatio).toFixed(1)} % of a core without), and ${ANSWER_FIELD.length} bytes on each response`,
  ].join(' ');
}

/** Both ways by TCP (the DHT's datagrams are not in it), so far. */
function bytesOf(sidecars: readonly Started[]): number {
  return sidecars.reduce((sum, { process }) => {
    const io = readFileSync(`/proc/${process.pid}/io`, 'utf8');
    return sum + Number(/^rchar: (\d+)/m.exec(io)?.[1]) + Number(/^wchar: (\d+)/m.exec(io)?.[1]);
  }, 0);
}

function cpuOf(sidecars: readonly Started[]): number {
  return sidecars.reduce((sum, { process }) => sum + cpuMs(process.pid), 0);
}

/** CPU time so far, user and system; 0 when it has ended. */
function cpuMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    // Ticks of 1/100 s.
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}
