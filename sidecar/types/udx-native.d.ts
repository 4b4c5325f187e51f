/**
 * Declarations of the part of udx-native that mesh/dht/sealed-udx uses; the package ships none.
 */
declare module 'udx-native' {
  import type { EventEmitter } from 'node:events';

  export interface UdxAddress {
    readonly host: string;
    readonly family: 4 | 6;
    readonly port: number;
  }
  export interface UdxSocketOptions {
    readonly ipv6Only?: boolean;
    readonly reuseAddress?: boolean;
  }
  /** One UDP socket. 'message' hands out a slice of a buffer that later datagrams do not overwrite. */
  export interface UdxSocket extends EventEmitter {
    /** Port 0 (or none) for any port; throws when the address cannot be bound. */
    bind(port?: number, host?: string): void;
    address(): UdxAddress | null;
    close(): Promise<void>;
    /** Resolves to false when the datagram could not be sent. */
    send(buffer: Uint8Array, port: number, host?: string, ttl?: number): Promise<boolean>;
    /** Fire and forget; throws when `host` is not an IP address. */
    trySend(buffer: Uint8Array, port: number, host?: string, ttl?: number): void;
  }
  export default class UDX {
    createSocket(options?: UdxSocketOptions): UdxSocket;
  }
}
