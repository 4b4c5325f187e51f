/**
 * The nodes by which the DHT is joined, and joined again: which are asked, which answer, are we cut off.
 *
 * hyperdht takes a fixed bootstrap list and lets every query wait for its dead members (measured: 16 s to bootstrap
 * with one of two dead, 6 s to the end of each query), and a node that finds none at its start does not look again for
 * minutes. So the list is kept here: all are pinged side by side, the first response joins, the silent ones stay out of
 * the queries' list and are asked again. The library also forgets who does not answer: after a partition each half
 * would be a DHT of its own for good, so who fell silent is asked again here.
 */
import HyperDHT, { type DhtAddress } from 'hyperdht';
import { isIp4 } from '../../core/host-port.ts';
import { hostNames } from '../../http/sockets/host-names.ts';
import type { Clock } from '../clock.ts';
import type { LostNodes } from './lost-nodes.ts';
import type { RunningQueries } from './running-queries.ts';

/** What Seeds needs of the DHT node. */
export interface BootstrapRpc {
  /** Rejects when no response comes. `persistent` is false for a node that is not where it believes to be. */
  ping(address: DhtAddress): Promise<{ persistent: boolean }>;
  /** Walk toward our own place in the DHT, so that our table and those of the neighbours fill. */
  settle(): void;
  tableSize(): number;
  /** Up to `count` nodes of the routing table. */
  sample(count: number): DhtAddress[];
  /** Nodes that queries ask beside the table while that is small. */
  setBootstrap(nodes: DhtAddress[]): void;
  /** IPv4 address of a name; rejects when there is none. */
  resolve(host: string): Promise<string>;
}

export interface BootstrapNodeState {
  /** host:port as configured. */
  readonly address: string;
  /** `foreign`: answers, but stands at another address than it believes (NAT), so it cannot store. */
  readonly answer: 'not_asked' | 'yes' | 'foreign' | 'no' | 'no_such_name';
}

/** `none_yet`: nobody to ask, or no round is over. `silent`: asked, and nobody answers (any more). */
export type Contact = 'none_yet' | 'answering' | 'silent';

/** `isWide`: more than one node that comes and goes: bootstrap nodes, several nodes, or this host itself was away. */
export interface HealedPartition {
  readonly isWide: boolean;
}

export interface BootstrapNodesOptions {
  readonly rpc: BootstrapRpc;
  readonly bootstrap: readonly DhtAddress[];
  /** To be asked again until they answer. */
  readonly lost: LostNodes;
  /** This node itself, when it stores: asked by its own queries too. null for a client. */
  readonly own: DhtAddress | null;
  readonly clock: Clock;
  readonly onChange: () => void;
  /**
   * Others and we were parted and are not any more: nodes that were silent answer, or this host has slept. Who is
   * there, and who knows of us, may have changed without any change of `contact`.
   */
  readonly onPartitionHealed: (healed: HealedPartition) => void;
}

interface BootstrapNode {
  readonly at: DhtAddress;
  answer: BootstrapNodeState['answer'];
  resolved: DhtAddress | null;
}

const JOINED_INTERVAL_MS = 5_000;

/** Pauses between rounds while nobody answers; the last one repeats. */
const SEARCH_PAUSES_MS = [500, 1_000, 2_000, 5_000];

/** hyperdht adds its bootstrap list to a query while it knows fewer nodes than it wants answers (k = 20). */
const SMALL_TABLE = 20;

/** Of those that fell silent, so many are asked per round: once joined, and while nobody answers. */
const LOST_ASKED = 2;
const MAX_LOST_ASKED = 16;

/** With a large table the bootstrap nodes are not asked in queries, but still so often: in a partition they are the others. */
const SELDOM_ASKED_MS = 30_000;

/** When many come back one after the other, it is one healed partition, or a few. */
const HEALED_PAUSE_MS = 15_000;

/** More than two rounds take, however silent: so long between two of them, this process did not run. */
const SLEPT_MS = 25_000;

/** One lost ping is not an outage: cut off after this many rounds without any response. */
const SILENT_ROUNDS = 2;

export class BootstrapNodes {
  readonly #options: BootstrapNodesOptions;
  readonly #nodes: BootstrapNode[];
  #silentRounds = 0;
  #contact: Contact = 'none_yet';
  #cancel = (): void => {};
  #stopped = false;
  #nodesAskedMs = Number.NEGATIVE_INFINITY;
  #roundUnixMs = Number.POSITIVE_INFINITY;
  #isHealingDue = false;
  /** Of the partition that is about to count as healed. */
  #isWide = false;
  #returned = 0;
  #joinedMs = Number.NEGATIVE_INFINITY;
  #healedMs = Number.NEGATIVE_INFINITY;

  constructor(options: BootstrapNodesOptions) {
    this.#options = options;
    this.#nodes = options.bootstrap
      .filter((at) => !(options.own && at.host === options.own.host && at.port === options.own.port))
      .map((at) => ({ at, answer: 'not_asked', resolved: null }));
  }

  /** Whether there is anybody to join: without, this node is the first. */
  get hasAny(): boolean {
    return this.#nodes.length > 0;
  }

  get contact(): Contact {
    return this.#contact;
  }

  states(): BootstrapNodeState[] {
    return this.#nodes.map((node) => ({ address: `${node.at.host}:${node.at.port}`, answer: node.answer }));
  }

  /** It is heard, whoever asked first. */
  found(node: DhtAddress): void {
    if (!this.#options.lost.remove(node)) return;
    this.#returned += 1;
    this.#announceHealed();
  }

  start(): void {
    this.#publish();
    void this.#round();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #round(): Promise<void> {
    const { clock, rpc } = this.#options;
    const [nowMs, unixMs] = [clock.monotonicMs(), clock.unixMs()];
    // By the time of day: the other clock stands still while a host sleeps.
    if (unixMs - this.#roundUnixMs > SLEPT_MS) this.#isHealingDue = this.#isWide = true;
    this.#roundUnixMs = unixMs;
    const joined = this.#contact === 'answering';
    const jobs: Promise<boolean>[] = [];
    if (!joined || rpc.tableSize() < SMALL_TABLE || nowMs - this.#nodesAskedMs >= SELDOM_ASKED_MS) {
      this.#nodesAskedMs = nowMs;
      for (const node of this.#nodes) jobs.push(this.#askNode(node));
    }
    const others = rpc.sample(2);
    if (joined) this.#askLost();
    else others.push(...this.#options.lost.next(MAX_LOST_ASKED));
    for (const node of others) jobs.push(this.#ask(node).then((answer) => answer !== 'no'));

    const answers = await Promise.all(jobs);
    if (this.#stopped) return;
    if (jobs.length === 0) this.#contact = 'none_yet';
    else if (!answers.includes(true)) {
      this.#silentRounds += 1;
      if (this.#contact !== 'answering' || this.#silentRounds >= SILENT_ROUNDS) this.#contact = 'silent';
    }
    this.#publish();
    this.#options.onChange();
    this.#cancel = clock.after(this.#pauseMs(), () => void this.#round());
  }

  /** Beside the round, which their silence must not lengthen. */
  #askLost(): void {
    for (const node of this.#options.lost.next(LOST_ASKED)) {
      void this.#ask(node).then((answer) => {
        if (answer !== 'no') this.found(node);
      });
    }
    if (this.#isHealingDue) this.#announceHealed();
  }

  #announceHealed(): void {
    if (this.#stopped || this.#contact !== 'answering') return;
    const nowMs = this.#options.clock.monotonicMs();
    // Who has just joined tells everybody anyway, and whoever it knew from its last run was not lost.
    if (nowMs - this.#joinedMs < HEALED_PAUSE_MS) {
      this.#returned = 0;
      return;
    }
    this.#isHealingDue = nowMs - this.#healedMs < HEALED_PAUSE_MS;
    if (this.#isHealingDue) return;
    this.#healedMs = nowMs;
    this.#options.rpc.settle();
    const isWide = this.#isWide || this.#returned > 1;
    this.#isWide = false;
    this.#returned = 0;
    this.#options.onPartitionHealed({ isWide });
  }

  #pauseMs(): number {
    if (this.#contact === 'none_yet') return JOINED_INTERVAL_MS;
    if (this.#contact === 'answering' && this.#silentRounds === 0) return JOINED_INTERVAL_MS;
    return SEARCH_PAUSES_MS[Math.min(this.#silentRounds, SEARCH_PAUSES_MS.length) - 1] ?? JOINED_INTERVAL_MS;
  }

  async #askNode(node: BootstrapNode): Promise<boolean> {
    try {
      node.resolved = { host: await this.#options.rpc.resolve(node.at.host), port: node.at.port };
    } catch {
      node.resolved = null;
      node.answer = 'no_such_name';
      return false;
    }
    const before = node.answer;
    const wasCutOff = this.#contact !== 'answering';
    node.answer = await this.#ask(node.resolved);
    // At once, not at the end of the round: a query that starts now must not miss the one that answers.
    if (node.answer !== before && !this.#stopped) {
      this.#publish();
      if (before === 'no' && !wasCutOff) {
        this.#isWide = true;
        this.#announceHealed();
      }
    }
    return node.answer !== 'no';
  }

  async #ask(node: DhtAddress): Promise<'yes' | 'foreign' | 'no'> {
    try {
      const { persistent } = await this.#options.rpc.ping(node);
      if (!this.#stopped) this.#onResponse();
      return persistent ? 'yes' : 'foreign';
    } catch {
      return 'no';
    }
  }

  #onResponse(): void {
    this.#silentRounds = 0;
    if (this.#contact === 'answering') return;
    this.#contact = 'answering';
    this.#joinedMs = this.#options.clock.monotonicMs();
    this.#publish();
    this.#options.rpc.settle();
    this.#options.onChange();
  }

  #publish(): void {
    const nodes = this.#options.own === null ? [] : [this.#options.own];
    for (const node of this.#nodes) {
      if (node.resolved !== null && (node.answer === 'yes' || node.answer === 'foreign'))
        nodes.push(node.resolved);
    }
    this.#options.rpc.setBootstrap(nodes);
  }
}

/** `own`: where this node is bound; it gives a client, which has no place in the DHT, one to walk to. */
export function bootstrapRpc(dht: HyperDHT, own: DhtAddress, queries: RunningQueries): BootstrapRpc {
  return {
    ping: async (node) => ({ persistent: (await dht.ping(node)).from.id !== null }),
    settle() {
      if (dht.destroyed) return;
      const target = dht.id ?? HyperDHT.hash(Buffer.from(`${own.host}:${own.port}`));
      queries
        .add(dht.findNode(target, { retries: 1 }))
        .finished()
        .catch(() => {});
    },
    tableSize: () => dht.nodes.length,
    sample: (count) => dht.toArray({ limit: count }),
    setBootstrap(nodes) {
      dht.bootstrapNodes = nodes;
    },
    async resolve(host) {
      const { addresses } = await hostNames.resolve(host);
      const address = addresses.find(isIp4);
      if (address === undefined) throw new Error(`${host} has no IPv4 address`);
      return address;
    },
  };
}
