/**
 * The sealed UDX: the DHT's UDP sockets, with a keyed MAC behind each datagram.
 *
 * At the socket instead of in each DHT message, because it keeps strangers from everything at once (answers,
 * announcements, routing table) and needs no change to hyperdht. Streams are not touched: their packets go through
 * native code and Noise encrypts them. One-byte datagrams (hole punching, address tests) go bare: hyperdht takes
 * nothing from them but the fact that they came. A MAC alone does not stop that a datagram is recorded and sent again;
 * the DHT's tokens and request numbers do.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';
import UDX, { type UdxSocket, type UdxSocketOptions } from 'udx-native';

/** BLAKE2b-128; counts against the datagram that must fit the VPN's MTU. */
export const PACKET_MAC_BYTES = 16;

export class SealedUDX extends UDX {
  readonly #packetKey: Buffer;
  #rejected = 0;

  /** `packetKey`: 32 bytes, the same in the whole mesh. */
  constructor(packetKey: Buffer) {
    super();
    this.#packetKey = packetKey;
  }

  /** Datagrams that came without the right MAC, and were dropped. */
  get rejected(): number {
    return this.#rejected;
  }

  override createSocket(options?: UdxSocketOptions): UdxSocket {
    const socket = super.createSocket(options);
    const bare = {
      send: socket.send.bind(socket),
      trySend: socket.trySend.bind(socket),
      emit: socket.emit.bind(socket),
    };
    socket.send = (buffer, port, host, ttl) => bare.send(this.#seal(buffer), port, host, ttl);
    socket.trySend = (buffer, port, host, ttl) => bare.trySend(this.#seal(buffer), port, host, ttl);
    socket.emit = (event: string | symbol, ...values: unknown[]): boolean => {
      if (event !== 'message') return bare.emit(event, ...values);
      const [datagram, ...rest] = values;
      const opened = this.#open(datagram as Buffer);
      if (opened !== null) return bare.emit('message', opened, ...rest);
      this.#rejected++;
      return false;
    };
    return socket;
  }

  #seal(buffer: Uint8Array): Uint8Array {
    if (buffer.length < 2) return buffer;
    const sealed = Buffer.allocUnsafe(buffer.length + PACKET_MAC_BYTES);
    sealed.set(buffer);
    sodium.crypto_generichash(sealed.subarray(buffer.length), buffer, this.#packetKey);
    return sealed;
  }

  /** What was sealed; null when it was not, or not with this key. */
  #open(datagram: Buffer): Buffer | null {
    if (datagram.length < 2) return datagram;
    const length = datagram.length - PACKET_MAC_BYTES;
    if (length < 2) return null;
    const message = datagram.subarray(0, length);
    const mac = Buffer.allocUnsafe(PACKET_MAC_BYTES);
    sodium.crypto_generichash(mac, message, this.#packetKey);
    return sodium.sodium_memcmp(mac, datagram.subarray(length)) ? message : null;
  }
}
