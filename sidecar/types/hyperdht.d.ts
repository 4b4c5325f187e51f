/**
 * Declarations of the part of hyperdht 6.34 (and of dht-rpc below it) that mesh/ uses; neither ships any.
 *
 * Read from the code, so that a trap is written where it is met. Anything not declared here is not used: private fields
 * stay private.
 */
declare module 'hyperdht' {
  import type { EventEmitter } from 'node:events';
  import type UDX from 'udx-native';

  export interface DhtAddress {
    readonly host: string;
    readonly port: number;
  }
  /** Where a response came from; `id` is null for a node that is not persistent. */
  export interface DhtNodeAddress extends DhtAddress {
    readonly id: Buffer | null;
  }
  export interface DhtKeyPair {
    readonly publicKey: Buffer;
    readonly secretKey: Buffer;
  }
  export interface DhtOptions {
    /** First nodes: addresses or 'host:port', 'ip@name:port' strings; an empty list is a network of its own. */
    readonly bootstrap?: readonly (DhtAddress | string)[];
    /** Nodes known from before: they enter the routing table unasked. */
    readonly nodes?: readonly DhtAddress[];
    /** 0 means 49737 to 49741 and then any; a list [0, 0] means any port at once. */
    readonly port?: number | readonly number[];
    readonly host?: string;
    readonly ephemeral?: boolean;
    readonly firewalled?: boolean;
    readonly quickFirewall?: boolean;
    /** False: fail instead of taking another port. */
    readonly anyPort?: boolean;
    readonly keyPair?: DhtKeyPair;
    readonly seed?: Uint8Array;
    readonly udx?: UDX;
    /** How long this node keeps the announcements and values of others, in ms. */
    readonly maxAge?: number;
    /** Entries per store of this node. */
    readonly maxSize?: number;
    /** Parallel requests of one query. */
    readonly concurrency?: number;
    /** Requests in flight per 750 ms. */
    readonly maxWindow?: number;
    /** Time-out per request by the round-trip times seen, in ms; without it 1,000 ms. */
    readonly adaptiveTimeout?: { readonly min: number; readonly max: number } | boolean;
    /** ms; false for none. */
    readonly connectionKeepAlive?: number | false;
    readonly deferRandomPunch?: boolean;
    readonly filterNode?: (node: DhtAddress) => boolean;
  }
  export interface DhtQueryOptions {
    readonly concurrency?: number;
    /** Sends of one request beyond the first. */
    readonly retries?: number;
    /** Ask these first instead of the closest of the routing table. */
    readonly nodes?: readonly DhtAddress[];
    readonly onlyClosestNodes?: boolean;
  }
  export interface DhtPeer {
    readonly publicKey: Buffer;
    /** At most three addresses. */
    readonly relayAddresses: readonly DhtAddress[];
  }
  export interface DhtLookupReply {
    readonly token: Buffer | null;
    readonly from: DhtNodeAddress;
    readonly to: DhtAddress;
    /** Up to 20, unsigned: a storing node can invent them. */
    readonly peers: readonly DhtPeer[];
    readonly bump: number;
  }
  /**
   * A running query. Iterating yields answers as they come; leaving the loop destroys it.
   * An announce that reaches no storing node rejects with 'Too few nodes responded'.
   */
  export interface DhtQuery<T> extends EventEmitter {
    readonly errors: number;
    readonly successes: number;
    readonly closestNodes: readonly DhtNodeAddress[];
    readonly destroyed: boolean;
    finished(): Promise<void>;
    destroy(error?: Error): void;
    [Symbol.asyncIterator](): AsyncIterableIterator<T>;
  }
  export interface DhtMutable {
    readonly from: DhtNodeAddress;
    readonly seq: number;
    readonly value: Buffer;
    readonly signature: Buffer;
  }
  export interface DhtMutablePut {
    readonly publicKey: Buffer;
    readonly closestNodes: readonly DhtNodeAddress[];
    readonly seq: number;
    readonly signature: Buffer;
  }
  /** What another node asks of this one. */
  export interface DhtRequest {
    readonly command: number;
    readonly target: Buffer | null;
    readonly value: Buffer | null;
    error(code: number, options?: { readonly token?: boolean; readonly closerNodes?: boolean }): void;
  }
  export interface DhtStats {
    readonly queries: { readonly active: number; readonly total: number };
    readonly requests: {
      readonly active: number;
      readonly total: number;
      readonly responses: number;
      readonly retries: number;
      readonly timeouts: number;
    };
  }

  export default class HyperDHT extends EventEmitter {
    constructor(options?: DhtOptions);
    /** A node that is persistent at once, also alone; throws unless `host` is an IPv4 address of its own. */
    static bootstrapper(port: number, host: string, options?: DhtOptions): HyperDHT;
    static keyPair(seed?: Uint8Array): DhtKeyPair;
    static hash(data: Uint8Array): Buffer;

    /** Reassign to drop first nodes that are dead. */
    bootstrapNodes: DhtAddress[];
    readonly defaultKeyPair: DhtKeyPair;
    readonly bootstrapped: boolean;
    readonly ephemeral: boolean;
    readonly firewalled: boolean;
    readonly destroyed: boolean;
    readonly suspended: boolean;
    readonly online: boolean;
    readonly degraded: boolean;
    /** Null while ephemeral. */
    readonly id: Buffer | null;
    /** Address as others see it; null until enough of them said so. */
    readonly host: string | null;
    readonly port: number;
    readonly stats: DhtStats;
    /** The routing table, this node not counted. */
    readonly nodes: { readonly length: number };
    /** Private; declared because `destroy` after a failed bind leaves this watcher open, and the process up. */
    readonly io: { readonly networkInterfaces: { destroy(): unknown } };

    /** Called for each request; false = unknown. May be replaced. */
    onrequest(request: DhtRequest): boolean;
    fullyBootstrapped(): Promise<void>;
    address(): DhtAddress | null;
    localAddress(): DhtAddress | null;
    remoteAddress(): DhtAddress | null;
    addNode(node: DhtAddress): void;
    /** The most recently heard nodes first. */
    toArray(options?: { readonly limit?: number }): DhtAddress[];
    refresh(): void;
    /** A node that answers and is persistent enters the routing table. Unless `retry` is false, sent 4 times. */
    ping(
      node: DhtAddress,
      options?: { readonly retry?: boolean },
    ): Promise<{ readonly from: DhtNodeAddress }>;
    findNode(target: Uint8Array, options?: DhtQueryOptions): DhtQuery<{ readonly from: DhtNodeAddress }>;
    lookup(topic: Uint8Array, options?: DhtQueryOptions): DhtQuery<DhtLookupReply>;
    /** `clear` removes an older announcement of the key first, which alone replaces its addresses. */
    announce(
      topic: Uint8Array,
      keyPair: DhtKeyPair,
      relayAddresses?: readonly DhtAddress[],
      options?: DhtQueryOptions & { readonly clear?: boolean },
    ): DhtQuery<DhtLookupReply>;
    unannounce(topic: Uint8Array, keyPair: DhtKeyPair, options?: DhtQueryOptions): Promise<void>;
    mutableGet(
      publicKey: Uint8Array,
      options?: DhtQueryOptions & { readonly seq?: number; readonly latest?: boolean },
    ): Promise<DhtMutable | null>;
    /** Resolves also when every node refused the value or its `seq`: read back to know. */
    mutablePut(
      keyPair: DhtKeyPair,
      value: Uint8Array,
      options?: DhtQueryOptions & { readonly seq?: number },
    ): Promise<DhtMutablePut>;
    suspend(): Promise<void>;
    resume(): Promise<void>;
    destroy(options?: { readonly force?: boolean }): Promise<void>;
  }
}
