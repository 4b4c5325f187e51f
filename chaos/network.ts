/**
 * The network of a chaos run: a bridge to which each worker host is tied by a cable of its own, that can be cut.
 *
 * Loopback knows no silence: there the unreachable refuse. So the whole run is in a network namespace of its own, each
 * worker host in one more, and a cut drops its IP packets in the bridge, both ways, TCP and UDP alike. Where the
 * system does not allow that, all hosts share loopback and nothing can be cut. It must not know what runs in the
 * hosts, nor when they are cut.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Set for a run that has a network of its own. */
const MARK = 'CHAOS_NETWORK';
/** Where control reaches hosts and workers; and what plays the VPN, in which a host may get another address. */
const UNDERLAY = '10.42';
const VPN = '10.43';
const BRIDGE = [
  'ip link set lo up',
  'ip link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0',
  'ip link set br0 up',
  'nft add table bridge chaos',
  ...['input', 'forward', 'output'].map(
    (hook) => `nft 'add chain bridge chaos ${hook} { type filter hook ${hook} priority 0 ; }'`,
  ),
  // What hosts are entered by, and what ends with the run however that ends.
  'command -v nsenter setpriv > /dev/null',
].join(' && ');

export interface Network {
  readonly vpnCidr: string;
  /** Why nothing can be cut; null = it can. */
  readonly whyWhole: string | null;
  /** Of the members that are never cut. */
  centreVpn(number: number): string;
  /** Of a worker host, from 0: by which it is controlled. */
  hostAddress(host: number): string;
  /** In the VPN, unless it is changed. */
  hostVpn(host: number): string;
  /** What a program on that host is started through. */
  through(host: number): readonly string[];
  /** Drops all packets between these hosts and the rest; returns what undoes it. */
  cut(hosts: readonly number[]): () => void;
  /** Drops this share of the packets that go to or from these hosts, at random; returns what undoes it. */
  lose(hosts: readonly number[], ratio: number): () => void;
  /** Gives a host another address in the VPN instead of its own; returns what undoes it. */
  changeAddress(host: number): () => void;
  down(): Promise<void>;
}

/** The program and arguments that start a network of one's own, as root or without. */
function ownNetwork(): readonly string[] {
  return process.getuid?.() === 0 ? ['unshare', '--net'] : ['unshare', '--user', '--map-root-user', '--net'];
}

/** Why there can be no network of one's own here; null = there can. Tries it. */
export function whyNoNetwork(): string | null {
  if (process.platform !== 'linux') return 'needs Linux network namespaces';
  const [program = '', ...args] = ownNetwork();
  const tried = spawnSync(program, [...args, 'sh', '-c', BRIDGE], { encoding: 'utf8' });
  if (tried.status === 0) return null;
  return `needs unshare, ip, nft, nsenter, setpriv and leave to use them: ${tried.stderr?.trim() || tried.error?.message}`;
}

/** Starts this program again, with the same arguments, in a network of its own; resolves with its exit code. */
export async function runInOwnNetwork(): Promise<number> {
  const [program = '', ...args] = ownNetwork();
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn(program, [...args, ...withStarter('TERM'), ...again], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: 'own' },
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

export function isInOwnNetwork(): boolean {
  return process.env[MARK] === 'own';
}

/** Each host has one, or all share loopback. */
export async function startNetwork(hosts: number, centre: number): Promise<Network> {
  return isInOwnNetwork() ? await Bridged.up(hosts, centre) : LOOPBACK;
}

const LOOPBACK: Network = {
  vpnCidr: '127.0.0.0/8',
  whyWhole: 'all hosts share loopback',
  centreVpn: () => '127.0.0.1',
  hostAddress: () => '127.0.0.1',
  hostVpn: () => '127.0.0.1',
  through: () => [],
  cut: () => () => {},
  lose: () => () => {},
  changeAddress: () => () => {},
  down: async () => {},
};

interface Cut {
  readonly hosts: readonly number[];
  /** Of the packets, 1 = all. */
  readonly ratio: number;
}

class Bridged implements Network {
  readonly vpnCidr = `${VPN}.0.0/16`;
  readonly whyWhole = null;
  readonly #holders: ChildProcess[] = [];
  readonly #cuts = new Set<Cut>();

  static async up(hosts: number, centre: number): Promise<Bridged> {
    const network = new Bridged();
    run('sh', '-c', BRIDGE);
    for (let number = 0; number < centre; number++) {
      run('ip', 'address', 'add', `${network.centreVpn(number)}/16`, 'dev', 'br0');
    }
    run('ip', 'address', 'add', `${UNDERLAY}.0.1/16`, 'dev', 'br0');
    for (let host = 0; host < hosts; host++) await network.#plugIn(host);
    return network;
  }

  centreVpn(number: number): string {
    return `${VPN}.0.${number + 1}`;
  }

  hostAddress(host: number): string {
    return `${UNDERLAY}.1.${host + 1}`;
  }

  hostVpn(host: number): string {
    return `${VPN}.1.${host + 1}`;
  }

  through(host: number): readonly string[] {
    return [...this.#inside(host), ...withStarter('KILL')];
  }

  cut(hosts: readonly number[]): () => void {
    return this.#drop({ hosts, ratio: 1 });
  }

  lose(hosts: readonly number[], ratio: number): () => void {
    return this.#drop({ hosts, ratio });
  }

  changeAddress(host: number): () => void {
    const other = `${VPN}.2.${host + 1}`;
    this.#address(host, 'del', this.hostVpn(host));
    this.#address(host, 'add', other);
    return () => {
      this.#address(host, 'del', other);
      this.#address(host, 'add', this.hostVpn(host));
    };
  }

  async down(): Promise<void> {
    for (const holder of this.#holders) holder.stdin?.end();
    await Promise.all(this.#holders.map((holder) => holder.exitCode ?? once(holder, 'exit')));
  }

  async #plugIn(host: number): Promise<void> {
    const script = 'ip link set lo up && echo up && exec cat';
    const holder = spawn('unshare', ['--net', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#holders.push(holder);
    await once(holder.stdout, 'data');
    const port = `p${host}`;
    run(...words(`ip link add ${port} type veth peer name eth0 netns ${holder.pid}`));
    run('ip', 'link', 'set', port, 'master', 'br0', 'up');
    this.#address(host, 'add', this.hostAddress(host));
    this.#address(host, 'add', this.hostVpn(host));
    run(...this.#inside(host), 'ip', 'link', 'set', 'eth0', 'up');
  }

  #inside(host: number): readonly string[] {
    return ['nsenter', '--net', '--target', String(this.#holders[host]?.pid), '--'];
  }

  #address(host: number, change: 'add' | 'del', address: string): void {
    run(...this.#inside(host), ...words(`ip address ${change} ${address}/16 dev eth0`));
  }

  #drop(cut: Cut): () => void {
    this.#cuts.add(cut);
    this.#apply();
    return () => {
      this.#cuts.delete(cut);
      this.#apply();
    };
  }

  /** In one step, so that no other cut heals for a moment. ARP goes on: an unknown address would be an error. */
  #apply(): void {
    const rules = ['flush table bridge chaos'];
    for (const { hosts, ratio } of this.#cuts) {
      const ports = `{ ${hosts.map((host) => `p${host}`).join(', ')} }`;
      const share = ratio < 1 ? `numgen random mod 1000 < ${Math.round(ratio * 1_000)} ` : '';
      const add = (chain: string, which: string): number =>
        rules.push(`add rule bridge chaos ${chain} ${which} ether type ip ${share}drop`);
      add('input', `iifname ${ports}`);
      add('output', `oifname ${ports}`);
      add('forward', `iifname ${ports} oifname != ${ports}`);
      add('forward', `oifname ${ports} iifname != ${ports}`);
    }
    const done = spawnSync('nft', ['-f', '-'], { input: rules.join('\n'), encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`nft: ${done.stderr}`);
  }
}

/** The kernel sends it this signal when the one who started it ends, however that ends. */
function withStarter(signal: 'KILL' | 'TERM'): readonly string[] {
  return ['setpriv', '--pdeathsig', signal, '--'];
}

function words(text: string): string[] {
  return text.split(' ');
}

function run(...command: readonly string[]): void {
  const [program = '', ...args] = command;
  const done = spawnSync(program, args, { encoding: 'utf8' });
  if (done.status !== 0)
    throw new Error(`${command.join(' ')}: ${done.stderr?.trim() || done.error?.message}`);
}
