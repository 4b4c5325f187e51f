/**
 * A real Nebula network: a lighthouse, workers and a machine outside of the VPN, on a rig of namespaces.
 *
 * Debian's nebula with a TUN device in each host, since what a cut VPN does to a connection (silence, and the same
 * connection alive again after the heal) is what no stand-in shows. Cuts are made in the switch, so that Nebula
 * itself sees only lost packets.
 */
import { type ChildProcess, type SpawnOptions, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingPrograms } from './needs.ts';
import { type CommandResult, NetnsRig, netnsReason } from './netns.ts';

/** What carries the VPN; it exists in the rig's namespaces only. */
const UNDERLAY = '192.168.77';
const VPN = '10.42.0';
const FIRST_ADDRESS = 11;
const PORT = 4242;
const LIGHTHOUSE = 1;
const PING_PATIENCE_MS = 30_000;

/** Why there can be no Nebula here, or null. */
export function nebulaReason(): string | null {
  const missing = missingPrograms('nebula', 'nebula-cert', 'ping', 'openssl');
  if (missing !== null) return missing;
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'needs /dev/net/tun, for the VPN interfaces';
  }
  return netnsReason();
}

/**
 * Hosts are numbered from 1: the lighthouse, the workers, and last the edge, which is on the underlay alone.
 * Caller ends it with `down`, also after a failure.
 */
export class NebulaRig {
  readonly edge: number;
  readonly #rig: NetnsRig;
  readonly #folder: string;
  readonly #nebulas = new Map<number, ChildProcess>();

  private constructor(rig: NetnsRig, folder: string, edge: number) {
    this.#rig = rig;
    this.#folder = folder;
    this.edge = edge;
  }

  /** Returns when each worker and the lighthouse can ping each other over the VPN. */
  static async up(workers: number): Promise<NebulaRig> {
    const members = 1 + workers;
    const folder = mkdtempSync(join(tmpdir(), 'nebula-rig-'));
    let rig: NetnsRig | null = null;
    try {
      rig = await NetnsRig.up(members + 1, UNDERLAY);
      const nebula = new NebulaRig(rig, folder, members + 1);
      nebula.#makeKeys(members);
      for (let host = 1; host <= members; host++) nebula.startNebula(host);
      await nebula.#untilMesh(members);
      return nebula;
    } catch (error) {
      await rig?.down();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Address in the VPN. */
  vpn(host: number): string {
    if (host === this.edge) throw new RangeError('the edge is not in the VPN');
    return `${VPN}.${FIRST_ADDRESS + host - 1}`;
  }

  underlay(host: number): string {
    return this.#rig.address(host);
  }

  /** A folder for files of the test, removed by `down`. */
  get folder(): string {
    return this.#folder;
  }

  spawn(host: number, command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return this.#rig.spawn(host, command, args, options);
  }

  exec(host: number, command: string, ...args: string[]): Promise<CommandResult> {
    return this.#rig.exec(host, command, ...args);
  }

  /** Drops Nebula's packets from and to a host, silently. Its tunnel goes on. */
  cutVpn(host: number): void {
    this.#rig.blockUdpPort(host, PORT);
  }

  /** Drops all that goes between a host and the edge, silently. Its VPN goes on. */
  cutTunnel(host: number): void {
    this.#rig.part(host, this.edge);
  }

  /** Drops everything from and to a host, silently. */
  cut(host: number): void {
    this.#rig.cut(host);
  }

  /** Undoes all cuts. */
  heal(): void {
    this.#rig.heal();
  }

  startNebula(host: number): void {
    const config = join(this.#folder, `host-${host}.json`);
    writeFileSync(config, JSON.stringify(this.#config(host)));
    const child = this.#rig.spawn(host, 'nebula', ['-config', config], { stdio: 'ignore' });
    this.#nebulas.set(host, child);
  }

  async killNebula(host: number): Promise<void> {
    const child = this.#nebulas.get(host);
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async down(): Promise<void> {
    await this.#rig.down();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #makeKeys(members: number): void {
    this.#certify('ca', '-name', 'test', '-duration', '24h');
    for (let host = 1; host <= members; host++) {
      this.#certify('sign', '-name', `host-${host}`, '-ip', `${this.vpn(host)}/16`);
    }
  }

  #certify(...args: string[]): void {
    const done = spawnSync('nebula-cert', args, { cwd: this.#folder, encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`nebula-cert ${args.join(' ')}: ${done.stderr}`);
  }

  /** As JSON, which is YAML. */
  #config(host: number): object {
    const isLighthouse = host === LIGHTHOUSE;
    const lighthouse = this.vpn(LIGHTHOUSE);
    const any = [{ port: 'any', proto: 'any', host: 'any' }];
    const path = (name: string): string => join(this.#folder, name);
    return {
      pki: { ca: path('ca.crt'), cert: path(`host-${host}.crt`), key: path(`host-${host}.key`) },
      static_host_map: isLighthouse ? {} : { [lighthouse]: [`${this.underlay(LIGHTHOUSE)}:${PORT}`] },
      lighthouse: { am_lighthouse: isLighthouse, interval: 10, hosts: isLighthouse ? [] : [lighthouse] },
      listen: { host: '0.0.0.0', port: PORT },
      punchy: { punch: true, respond: true },
      tun: { dev: 'nebula1', mtu: 1300 },
      logging: { level: 'error', format: 'text' },
      firewall: { outbound: any, inbound: any },
    };
  }

  async #untilMesh(members: number): Promise<void> {
    const hosts = Array.from({ length: members }, (_, i) => i + 1);
    const limitMs = performance.now() + PING_PATIENCE_MS;
    await Promise.all(
      hosts.map(async (host) => {
        for (const other of hosts) while (other !== host && !(await this.#ping(host, other, limitMs)));
      }),
    );
  }

  async #ping(host: number, other: number, limitMs: number): Promise<boolean> {
    const { status } = await this.exec(host, 'ping', '-q', '-c1', '-W0.3', this.vpn(other));
    if (status !== 0 && performance.now() > limitMs) {
      throw new Error(`host ${host} cannot ping host ${other} over Nebula within ${PING_PATIENCE_MS} ms`);
    }
    return status === 0;
  }
}
