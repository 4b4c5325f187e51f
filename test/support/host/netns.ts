/**
 * Hosts on a network of their own: one network namespace each, joined by a bridge in one more.
 *
 * Loopback cannot show what a network does to a sidecar: there an unreachable peer refuses at once, and UDP is
 * never lost. Here a cut is silence, as on a real network, because it is made in the switch and not in the
 * host. Nothing is created in the machine's own namespace: no link, no rule, no name under /run/netns. Each
 * namespace lives as long as its holder process, a holder ends when the test process does (its stdin closes),
 * and all that runs in a host is killed with the test process too, so that nothing can be left behind.
 * It must not know what runs in the hosts. Root only (see `netnsReason`).
 */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { missingPrograms } from './needs.ts';

/** The network that the hosts share: host 1 is 10.42.0.11, as VPN addresses are in the examples. */
const SUBNET = '10.42.0';
const FIRST_ADDRESS = 11;
const MAX_HOSTS = 200;

export interface CommandResult {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Namespace {
  readonly holder: ChildProcess;
  readonly pid: number;
}

/** Why namespaces cannot be made here, or null. Asks the kernel, since root in a container may not be enough. */
export function netnsReason(): string | null {
  if (process.platform !== 'linux') return 'needs Linux network namespaces';
  if (process.getuid?.() !== 0) return 'needs root, to make network namespaces';
  const missing = missingPrograms('ip', 'nft', 'unshare', 'nsenter', 'setpriv');
  if (missing !== null) return missing;
  const tried = spawnSync('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up'], { encoding: 'utf8' });
  return tried.status === 0 ? null : `needs leave to make network namespaces: ${tried.stderr.trim()}`;
}

/** A running network. Hosts are numbered from 1. Caller ends it with `down`, also after a failure. */
export class NetnsRig {
  readonly #switch: Namespace;
  readonly #hosts: readonly Namespace[];
  readonly #subnet: string;
  readonly #children = new Set<ChildProcess>();

  private constructor(bridge: Namespace, hosts: readonly Namespace[], subnet: string) {
    this.#switch = bridge;
    this.#hosts = hosts;
    this.#subnet = subnet;
  }

  /**
   * Makes `count` hosts and returns when each can reach each other. Throws when the machine cannot. `subnet`: the
   * first three numbers of their addresses.
   */
  static async up(count: number, subnet: string = SUBNET): Promise<NetnsRig> {
    if (!Number.isInteger(count) || count < 1 || count > MAX_HOSTS) {
      throw new RangeError(`a rig has 1 to ${MAX_HOSTS} hosts, not ${count}`);
    }
    const made: Namespace[] = [];
    try {
      for (let i = 0; i <= count; i++) made.push(await hold());
      const [bridge, ...hosts] = made;
      if (bridge === undefined) throw new Error('no namespace was made');
      wire(bridge, hosts, subnet);
      return new NetnsRig(bridge, hosts, subnet);
    } catch (error) {
      await Promise.all(made.map(release));
      throw error;
    }
  }

  /** The address of a host on the shared network. */
  address(host: number): string {
    this.#host(host);
    return addressOf(this.#subnet, host);
  }

  /** Runs a command in a host to its end; does not throw on a bad exit status. */
  async exec(host: number, command: string, ...args: string[]): Promise<CommandResult> {
    const child = this.spawn(host, command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    await once(child, 'close');
    return { status: child.exitCode, ...output };
  }

  /** Starts a process in a host. Its pid is the command's own, so signals reach it; `down` kills what still runs. */
  spawn(host: number, command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const inside = ['--net', '--target', String(this.#host(host).pid), '--'];
    // pdeathsig: the kernel kills it when the test process dies, however it dies.
    const guarded = ['setpriv', '--pdeathsig', 'KILL', '--', command, ...args];
    const child = spawn('nsenter', [...inside, ...guarded], options);
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** Drops all UDP to and from a host, silently; TCP goes on: what a firewall that knows only the web does. */
  blockUdp(host: number): void {
    this.#drop(host, 'meta l4proto udp');
  }

  /** The same for one port, from or to which it is sent. */
  blockUdpPort(host: number, port: number): void {
    this.#drop(host, `udp sport ${port}`);
    this.#drop(host, `udp dport ${port}`);
  }

  /** Drops everything between two hosts, silently; both still reach the others. */
  part(host: number, other: number): void {
    this.#drop(host, `ip saddr ${this.address(other)}`);
    this.#drop(host, `ip daddr ${this.address(other)}`);
  }

  /** Drops everything to and from a host, silently: the machine at the other end is gone. */
  cut(host: number): void {
    this.#drop(host, '');
  }

  /** Loses so many of the packets to a host, and as many of those from it, at random; 0 to 100. */
  lose(host: number, percent: number): void {
    this.#drop(host, `numgen random mod 1000 < ${Math.round(percent * 10)}`);
  }

  /** Drops what opens a TCP connection, to and from a host; those that are open go on. */
  blockConnects(host: number): void {
    this.#drop(host, 'tcp flags & (syn | ack) == syn');
  }

  /** Undoes every block and cut of all hosts. */
  heal(): void {
    inNamespace(this.#switch, ['nft', 'flush', 'chain', 'bridge', 'rig', 'cuts']);
  }

  /** Ends all that runs in the hosts, then the hosts. Safe to call twice. */
  async down(): Promise<void> {
    await Promise.all([...this.#children].map((child) => end(child)));
    await Promise.all([...this.#hosts, this.#switch].map(release));
  }

  #host(host: number): Namespace {
    const found = this.#hosts[host - 1];
    if (found === undefined) throw new RangeError(`no host ${host}: they are 1 to ${this.#hosts.length}`);
    return found;
  }

  #drop(host: number, match: string): void {
    this.#host(host);
    for (const side of ['iifname', 'oifname']) {
      inNamespace(this.#switch, ['nft', `add rule bridge rig cuts ${side} p${host} ${match} drop`]);
    }
  }
}

function addressOf(subnet: string, host: number): string {
  return `${subnet}.${FIRST_ADDRESS + host - 1}`;
}

/** A namespace with a process that keeps it: `cat`, which ends when our end of its stdin closes. */
async function hold(): Promise<Namespace> {
  const script = 'ip link set lo up && echo up && exec cat';
  const holder = spawn('unshare', ['--net', 'sh', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const failed = once(holder, 'exit').then(([status]) => {
    throw new Error(`a network namespace could not be made (unshare ended with ${String(status)})`);
  });
  failed.catch(() => {});
  await Promise.race([once(holder.stdout, 'data'), failed]);
  if (holder.pid === undefined) throw new Error('a network namespace could not be made');
  return { holder, pid: holder.pid };
}

async function release(namespace: Namespace): Promise<void> {
  namespace.holder.stdin?.end();
  await end(namespace.holder);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

function wire(bridge: Namespace, hosts: readonly Namespace[], subnet: string): void {
  const inBridge = (...args: string[]): void => inNamespace(bridge, args);
  // No spanning tree and no forward delay: the ports carry packets at once.
  inBridge(...'ip link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0'.split(' '));
  inBridge('ip', 'link', 'set', 'br0', 'up');
  inBridge('nft', 'add table bridge rig');
  inBridge('nft', 'add chain bridge rig cuts { type filter hook forward priority 0 ; policy accept ; }');
  hosts.forEach((host, index) => {
    const port = `p${index + 1}`;
    inBridge(...`ip link add ${port} type veth peer name eth0 netns ${host.pid}`.split(' '));
    inBridge('ip', 'link', 'set', port, 'master', 'br0', 'up');
    inNamespace(host, ['ip', 'address', 'add', `${addressOf(subnet, index + 1)}/16`, 'dev', 'eth0']);
    inNamespace(host, ['ip', 'link', 'set', 'eth0', 'up']);
  });
}

/** Runs a set-up command to its end and throws with its own words when it fails. */
function inNamespace(namespace: Namespace, command: readonly string[]): void {
  const args = ['--net', '--target', String(namespace.pid), '--', ...command];
  const done = spawnSync('nsenter', args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${command.join(' ')}: ${done.stderr.trim() || String(done.error)}`);
}
