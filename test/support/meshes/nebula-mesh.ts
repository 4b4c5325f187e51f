/**
 * A mesh of sidecars on a real Nebula network: a bootstrap node beside the lighthouse, workers with a VPN address and
 * a tunnel each, and the edge that stands for Cloudflare's.
 *
 * Tests reach into a host by test/support/host/host-sockets.ts.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import type { SlowEdgeOptions } from '../edges/slow-edge.ts';
import { askSocket, openRelay, outputOf, type TimedAnswer } from '../host/host-sockets.ts';
import { NebulaRig } from '../host/nebula.ts';
import { eventually } from '../runner/eventually.ts';
import { note } from '../runner/note.ts';
import { hasTestFailed, onTestEnd } from '../runner/on-test-end.ts';
import type { Sent } from '../wire/http-client.ts';
import type { SeenByWorker, WorkerSettings } from '../workers/worker-process.ts';
import type { PeerJson } from './mesh.ts';

const MAIN = join(import.meta.dirname, '../../../sidecar/main.ts');
const CLOCK = join(import.meta.dirname, '../host/shifted-clock.ts');
const EDGE = join(import.meta.dirname, '../edges/slow-edge.ts');
const WORKER = join(import.meta.dirname, '../workers/worker.ts');
const LIGHTHOUSE = 1;
const DHT_PORT = 49737;
const OUTBOUND = 8010;
const INBOUND = 8000;
const ADMIN = 9464;
const WORKER_PORT = 9000;
const FIRST_TUNNEL_PORT = 44_300;
const EDGE_DELAY_MS = 50;
const SHOWN_LOG_CHARS = 6_000;

export interface NebulaSidecarSetup {
  readonly env?: Readonly<Record<string, string>>;
  /** How wrong the clock of its host is. */
  readonly clockShiftMs?: number;
  /** The worker beside it offers these; none: it only calls. */
  readonly services?: readonly string[];
  /** It has a tunnel. */
  readonly hasTunnel?: boolean;
}

interface MeasuredPeer {
  readonly worker_id: string;
  readonly routes: readonly { readonly kind: string; readonly extra_ms: number | null }[];
}

interface Process {
  readonly child: ChildProcess;
  log(): string;
}

/** One worker host: what the app beside the sidecar, its operator and its worker see. */
export class NebulaHost {
  readonly number: number;
  readonly id: string;
  readonly #mesh: NebulaMesh;
  readonly #sockets = new Map<number, string>();
  #sidecar: Process | null = null;
  #control = 0;

  constructor(mesh: NebulaMesh, number: number) {
    this.#mesh = mesh;
    this.number = number;
    this.id = `host-${number}`;
  }

  /** All that its sidecar has logged. */
  log(): string {
    return this.#sidecar?.log() ?? '';
  }

  /** A request of the app in this host. */
  call(sent: Sent): Promise<TimedAnswer> {
    return this.#ask(OUTBOUND, sent);
  }

  get(service: string, path = '/'): Promise<TimedAnswer> {
    return this.call({ target: `/service/${service}${path}` });
  }

  async admin<T>(target: string): Promise<T> {
    return JSON.parse((await this.#ask(ADMIN, { target })).body) as T;
  }

  async peers(): Promise<readonly PeerJson[]> {
    return (await this.admin<{ peers: readonly PeerJson[] }>('/peers')).peers;
  }

  /** Resolves when the route of this kind to that worker is in this state. */
  async route(to: NebulaHost, kind: string, state: string): Promise<void> {
    await eventually(
      `${this.id} has the ${kind} route to ${to.id} ${state}`,
      () => this.peers(),
      (peers) =>
        peers.some(
          ({ worker_id, routes }) =>
            worker_id === to.id && routes.some((route) => route.kind === kind && route.state === state),
        ),
    );
  }

  /** Resolves when it knows how far that worker's tunnel is. */
  async knowsTunnel(to: NebulaHost): Promise<void> {
    await eventually(
      `${this.id} has measured the tunnel of ${to.id}`,
      () => this.admin<{ peers: readonly MeasuredPeer[] }>('/peers'),
      ({ peers }) =>
        peers.some(
          ({ worker_id, routes }) =>
            worker_id === to.id && routes.some((route) => route.kind === 'tunnel' && route.extra_ms !== null),
        ),
    );
  }

  /** Requests with this id that reached the worker, whatever became of them. */
  async seen(id: string): Promise<readonly SeenByWorker[]> {
    const { body } = await this.#ask(this.#control, { target: '/seen' });
    return (JSON.parse(body) as SeenByWorker[]).filter((one) => one.id === id);
  }

  /** Sets how its worker answers. */
  async worker(settings: WorkerSettings): Promise<void> {
    await this.#ask(this.#control, { method: 'POST', target: '/set', body: JSON.stringify(settings) });
  }

  /** Resolves when it listens. */
  async start(setup: NebulaSidecarSetup): Promise<void> {
    const { clockShiftMs = 0, env = {}, hasTunnel = false, services = [] } = setup;
    if (services.length > 0) await this.#startWorker();
    this.#sidecar = this.#mesh.run(this.number, ['--import', CLOCK, MAIN, 'run'], {
      CLOCK_SHIFT_MS: String(clockShiftMs),
      SIDECAR_WORKER_ID: this.id,
      SIDECAR_SERVICES: services.map((name) => `${name}=http://127.0.0.1:${WORKER_PORT}`).join(','),
      SIDECAR_BOOTSTRAP: this.#mesh.bootstrap,
      SIDECAR_INBOUND: `0.0.0.0:${INBOUND}`,
      ...(hasTunnel ? { SIDECAR_TUNNEL_URL: this.#mesh.tunnelUrl(this.number) } : {}),
      SIDECAR_TUNNEL_CA: this.#mesh.caFile,
      SIDECAR_TUNNEL_ALLOW: 'loopback,private',
      SIDECAR_LOG_LEVEL: 'debug',
      ...env,
    });
    for (const port of [OUTBOUND, ADMIN]) await this.#open(port);
    await eventually(
      `the sidecar of ${this.id} listens`,
      () => this.log(),
      (log) => log.includes('sidecar listens'),
    );
  }

  /** Ends its sidecar, with all that it knew. */
  async kill(): Promise<void> {
    const child = this.#sidecar?.child;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async #startWorker(): Promise<void> {
    if (this.#control !== 0) return;
    const { child, log } = this.#mesh.run(this.number, [WORKER, this.id, String(WORKER_PORT)], {});
    if (child.stdout === null) throw new Error('the worker has no output');
    while (!log().includes('\n')) await once(child.stdout, 'data');
    this.#control = (JSON.parse(log()) as { control: number }).control;
    await this.#open(this.#control);
  }

  async #open(port: number): Promise<void> {
    if (this.#sockets.has(port)) return;
    const path = join(this.#mesh.rig.folder, `${this.number}-${port}.sock`);
    this.#sockets.set(port, path);
    await openRelay((args) => this.#mesh.run(this.number, args, {}).child, path, port);
  }

  #ask(port: number, sent: Sent): Promise<TimedAnswer> {
    const socketPath = this.#sockets.get(port);
    if (socketPath === undefined) throw new Error(`port ${port} of ${this.id} is not open to the test`);
    return askSocket(socketPath, sent);
  }
}

export class NebulaMesh {
  readonly rig: NebulaRig;
  readonly lighthouse: Process;
  readonly #meshKey = randomBytes(32).toString('hex');
  readonly #hosts: NebulaHost[];
  readonly #processes: { readonly name: string; readonly process: Process }[] = [];

  private constructor(rig: NebulaRig, workers: number) {
    this.rig = rig;
    this.#hosts = Array.from({ length: workers }, (_, i) => new NebulaHost(this, LIGHTHOUSE + 1 + i));
    this.lighthouse = this.run(LIGHTHOUSE, [MAIN, 'bootstrap'], {
      SIDECAR_DHT_LISTEN: this.bootstrap,
      SIDECAR_WORKER_ID: 'lighthouse',
    });
  }

  /** A lighthouse with the bootstrap node, `workers` hosts on which nothing runs yet, the edge. Ends with the test. */
  static async up(workers: number): Promise<NebulaMesh> {
    const rig = await NebulaRig.up(workers);
    let mesh: NebulaMesh | null = null;
    onTestEnd(async () => {
      await rig.down();
      if (hasTestFailed()) mesh?.show();
    });
    mesh = new NebulaMesh(rig, workers);
    await mesh.#startEdge();
    return mesh;
  }

  /** The n-th worker host, from 1. */
  host(n: number): NebulaHost {
    const found = this.#hosts[n - 1];
    if (found === undefined) throw new RangeError(`no worker host ${n}`);
    return found;
  }

  get bootstrap(): string {
    return `${this.rig.vpn(LIGHTHOUSE)}:${DHT_PORT}`;
  }

  tunnelUrl(host: number): string {
    return `https://${this.rig.underlay(this.rig.edge)}:${FIRST_TUNNEL_PORT + host}`;
  }

  get caFile(): string {
    return join(this.rig.folder, 'edge.crt');
  }

  /** Runs a Node program in a host. */
  run(host: number, args: readonly string[], env: Readonly<Record<string, string>>): Process {
    const child = this.rig.spawn(host, process.execPath, args, {
      env: { PATH: process.env.PATH, SIDECAR_MESH_KEY: this.#meshKey, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const started = { child, log: outputOf(child) };
    this.#processes.push({ name: `host ${host}: ${args.join(' ').slice(0, 80)}`, process: started });
    return started;
  }

  show(): void {
    for (const {
      name,
      process: { log },
    } of this.#processes) {
      note(`${name}\n${log().slice(-SHOWN_LOG_CHARS)}`);
    }
  }

  async #startEdge(): Promise<void> {
    const { rig } = this;
    const host = rig.underlay(rig.edge);
    const key = join(rig.folder, 'edge.key');
    const made = spawnSync(
      'openssl',
      [
        ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=edge'.split(' '),
        ...['-addext', `subjectAltName=IP:${host}`, '-keyout', key, '-out', this.caFile],
      ],
      { encoding: 'utf8' },
    );
    if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
    const options: SlowEdgeOptions = {
      host,
      cert: this.caFile,
      key,
      delayMs: EDGE_DELAY_MS,
      tunnels: this.#hosts.map(({ number }) => ({
        port: FIRST_TUNNEL_PORT + number,
        to: { host: rig.underlay(number), port: INBOUND },
      })),
    };
    const { child } = this.run(rig.edge, [EDGE, JSON.stringify(options)], {});
    if (child.stdout !== null) await once(child.stdout, 'data');
  }
}
