/**
 * A mesh in this process: whole sidecars on loopback, each from a configuration as an operator would write it.
 *
 * `startSidecar` behind `loadConfig`, with every port given by the system: the product as it is, except that its
 * processes share one. The "VPN address" of a member is one of loopback. Everything ends with the test that began
 * it.
 */
import { randomBytes } from 'node:crypto';
import { type RunningSidecar, startSidecar } from '../../../sidecar/app/sidecar.ts';
import { loadConfig } from '../../../sidecar/config/load.ts';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { createLog } from '../../../sidecar/observe/log.ts';
import type { StatsJson } from '../../../sidecar/observe/metrics.ts';
import { configInput } from '../generators/config-input.ts';
import { eventually } from '../runner/eventually.ts';
import { expectNamed } from '../runner/expectations.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { type Answer, type Sent, send } from '../wire/http-client.ts';

export interface MemberOptions {
  readonly id: string;
  /** As in the file: a URL, or the keys of one service. */
  readonly services?: Readonly<Record<string, string | Readonly<Record<string, unknown>>>>;
  /** Overrides of anything. */
  readonly env?: Readonly<Record<string, string>>;
  /** Files that the configuration names: path → content. */
  readonly files?: Readonly<Record<string, string>>;
  /** null = without VPN. */
  readonly vpnIp?: string | null;
  /** DHT nodes that it joins by; by default the first member. */
  readonly bootstrap?: readonly HostPort[];
  readonly meshKey?: string;
}

export interface PeerJson {
  readonly worker_id: string;
  readonly state: string;
  readonly load: number;
  readonly services: readonly string[];
  readonly public_key: string;
  readonly routes: readonly { readonly kind: string; readonly address: string; readonly state: string }[];
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export class Member {
  readonly id: string;
  readonly running: RunningSidecar;
  readonly log: readonly LogLine[];
  readonly #announced: string;

  constructor(id: string, running: RunningSidecar, log: readonly LogLine[], isFirst: boolean) {
    this.id = id;
    this.#announced = isFirst ? 'announced to itself alone' : 'announced in the DHT';
    this.running = running;
    this.log = log;
  }

  /** A request of the app beside it. */
  call(sent: Sent): Promise<Answer> {
    return send(this.running.outbound, sent);
  }

  /** `GET /service/<service><path>` by the app beside it. */
  get(service: string, path = '/'): Promise<Answer> {
    return this.call({ target: `/service/${service}${path}` });
  }

  admin(target: string): Promise<Answer> {
    return send(this.running.admin, { target });
  }

  async stats(): Promise<StatsJson> {
    return JSON.parse((await this.admin('/stats')).body) as StatsJson;
  }

  async peers(): Promise<readonly PeerJson[]> {
    return (JSON.parse((await this.admin('/peers')).body) as { peers: PeerJson[] }).peers;
  }

  /** Resolves when its announcements are stored: with others, or, for the first node, with itself alone. */
  async isAnnounced(): Promise<void> {
    await eventually(
      `${this.id} is announced`,
      () => this.log,
      (log) => log.some(({ message }) => message === this.#announced),
    );
  }

  /** Resolves when it knows these workers in this state. */
  async knows(ids: readonly string[], state = 'ready'): Promise<readonly PeerJson[]> {
    return await eventually(
      `${this.id} knows ${ids.join(', ')} as ${state}`,
      () => this.peers(),
      (peers) => ids.every((id) => peers.some((peer) => peer.worker_id === id && peer.state === state)),
    );
  }
}

export class TestMesh {
  readonly meshKey = randomBytes(32).toString('hex');
  #first: HostPort | null = null;

  /** Announced in the DHT, with its workers ready. */
  async join(options: MemberOptions): Promise<Member> {
    const member = await this.start(options);
    const services = Object.keys(options.services ?? {}).length;
    await member.isAnnounced();
    await eventually(
      `the workers of ${options.id} are ready`,
      () => member.log.filter(({ message }) => message === 'the worker is ready').length,
      (ready) => ready >= services,
    );
    return member;
  }

  /** Running, and nothing more. The first one is whom the others join by. */
  async start(options: MemberOptions): Promise<Member> {
    const surroundings = this.#surroundings(options);
    const read = () =>
      loadConfig(
        configInput({
          args: ['--config', '/sidecar.json'],
          env: { ...surroundings, ...options.env },
          files: { '/sidecar.json': JSON.stringify({ services: options.services ?? {} }), ...options.files },
        }),
      );
    const loaded = read();
    const lines: LogLine[] = [];
    const log = createLog({
      level: 'debug',
      format: 'json',
      workerId: options.id,
      sink: { write: (line) => void lines.push(JSON.parse(line) as LogLine) },
    });
    const source = { loaded, read, setLogLevel: () => {} };
    const running = await startSidecar(loaded.config, log, undefined, source);
    onTestEnd(async () => {
      await running.stop();
      const faults = lines.filter(({ message }) => message.startsWith('a fault in this program'));
      expectNamed(faults, `${options.id} has met a fault of its own`).toStrictEqual([]);
    });
    this.#first ??= running.dht;
    return new Member(options.id, running, lines, loaded.config.dht.bootstrap.length === 0);
  }

  #surroundings({ id, vpnIp = '127.0.0.1', bootstrap, meshKey }: MemberOptions): Record<string, string> {
    const nodes = bootstrap ?? (this.#first === null ? [] : [this.#first]);
    return {
      SIDECAR_WORKER_ID: id,
      SIDECAR_MESH_KEY: meshKey ?? this.meshKey,
      SIDECAR_VPN_IP: vpnIp ?? 'none',
      SIDECAR_VPN_CIDR: '127.0.0.0/8',
      SIDECAR_TUNNEL_ALLOW: 'loopback', // where the stand-ins for tunnels' edges are
      SIDECAR_OUTBOUND: '127.0.0.1:0',
      SIDECAR_INBOUND: `${vpnIp ?? '127.0.0.1'}:0`,
      SIDECAR_ADMIN: '127.0.0.1:0',
      SIDECAR_DHT_LISTEN: `${vpnIp ?? '127.0.0.1'}:0`,
      SIDECAR_BOOTSTRAP: nodes.map(({ host, port }) => `${host}:${port}`).join(','),
    };
  }
}
