/**
 * What this node stores for others: an announcement only with the certificate of who makes it, and only on topics that
 * the certificate gives it; a value only when it is the record of its key.
 *
 * The DHT itself asks for no more than a signature by any key: a member without rights could fill a topic with keys
 * that it makes up, of which a lookup then gets a sample instead of the workers. The certificate travels in the list of
 * addresses, behind an address that nobody can have, for the announcement has no other place that is signed; the library
 * cuts it off before it stores.
 */
import type HyperDHT from 'hyperdht';
import type { DhtAddress, DhtRequest } from 'hyperdht';

export interface StoreRules {
  /** `proof`: a signed certificate, empty where none came. */
  mayAnnounce(topic: Buffer, publicKey: Buffer, proof: Buffer): boolean;
  mayPut(publicKey: Buffer, value: Buffer): boolean;
}

/** hyperdht, lib/constants.js. */
const ANNOUNCE = 4;
const MUTABLE_PUT = 6;
const IMMUTABLE_PUT = 8;

/** Of hyperdht's own codes none says it; any above theirs. */
const NOT_ALLOWED = 64;

const NOBODY = '0.0.0.0';
const KEY_BYTES = 32;
const ADDRESS_BYTES = 6;
const HAS_PEER = 1;

/** Those addresses, and behind them the proof. */
export function withProof(addresses: readonly DhtAddress[], proof: Buffer): readonly DhtAddress[] {
  const packed: DhtAddress[] = [...addresses, { host: NOBODY, port: proof.length }];
  for (let at = 0; at < proof.length; at += ADDRESS_BYTES) {
    const piece = Buffer.alloc(ADDRESS_BYTES);
    proof.copy(piece, 0, at);
    packed.push({ host: [...piece.subarray(0, 4)].join('.'), port: piece.readUInt16LE(4) });
  }
  return packed;
}

/** Without the proof, or what is left of it. */
export function withoutProof(addresses: readonly DhtAddress[]): readonly DhtAddress[] {
  const end = addresses.findIndex(({ host }) => host === NOBODY);
  return end === -1 ? addresses : addresses.slice(0, end);
}

/** From now on this node stores by the rules. `onRefused` for each request that it does not follow. */
export function guardStore(dht: HyperDHT, rules: StoreRules, onRefused: () => void): void {
  const handle = dht.onrequest.bind(dht);
  dht.onrequest = (request) => {
    if (mayStore(request, rules)) return handle(request);
    onRefused();
    request.error(NOT_ALLOWED, { token: false, closerNodes: false });
    return true;
  };
}

function mayStore({ command, target, value }: DhtRequest, rules: StoreRules): boolean {
  if (command === IMMUTABLE_PUT) return false; // nobody here has a use for them
  if (command === ANNOUNCE) {
    const announced = target === null || value === null ? null : readAnnouncement(value);
    return announced !== null && rules.mayAnnounce(target as Buffer, announced.publicKey, announced.proof);
  }
  if (command === MUTABLE_PUT) {
    const put = value === null ? null : readPut(value);
    return put !== null && rules.mayPut(put.publicKey, put.value);
  }
  return true;
}

/**
 * flags · public key · count and addresses (4 octets and a little-endian port each) · …; null when it is cut off, or has
 * no key: such ones repeat an earlier announcement, which nobody here makes.
 */
export function readAnnouncement(bytes: Buffer): { publicKey: Buffer; proof: Buffer } | null {
  if (((bytes[0] ?? 0) & HAS_PEER) === 0) return null;
  const publicKey = bytes.subarray(1, 1 + KEY_BYTES);
  const count = readUint(bytes, 1 + KEY_BYTES);
  if (publicKey.length < KEY_BYTES || count === null) return null;
  const addresses = bytes.subarray(count.end, count.end + count.value * ADDRESS_BYTES);
  if (addresses.length < count.value * ADDRESS_BYTES) return null;
  for (let at = 0; at < addresses.length; at += ADDRESS_BYTES) {
    if (addresses.readUInt32BE(at) !== 0) continue;
    const start = at + ADDRESS_BYTES;
    return { publicKey, proof: addresses.subarray(start, start + addresses.readUInt16LE(at + 4)) };
  }
  return { publicKey, proof: Buffer.alloc(0) };
}

/** public key · sequence number · length and value · …; null when it is cut off. */
export function readPut(bytes: Buffer): { publicKey: Buffer; value: Buffer } | null {
  const seq = readUint(bytes, KEY_BYTES);
  const length = seq === null ? null : readUint(bytes, seq.end);
  if (length === null) return null;
  const value = bytes.subarray(length.end, length.end + length.value);
  return value.length < length.value ? null : { publicKey: bytes.subarray(0, KEY_BYTES), value };
}

/** compact-encoding's uint: one octet, or a marker and two, four or eight, little-endian. */
function readUint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | null {
  const first = bytes[at];
  if (first === undefined) return null;
  if (first < 0xfd) return { value: first, end: at + 1 };
  const size = first === 0xfd ? 2 : first === 0xfe ? 4 : 8;
  if (bytes.length < at + 1 + size) return null;
  const value = size === 8 ? Number(bytes.readBigUInt64LE(at + 1)) : bytes.readUIntLE(at + 1, size);
  return { value, end: at + 1 + size };
}
