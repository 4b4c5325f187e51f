/**
 * The keys of a mesh: everything that follows from the 32 bytes of the mesh key.
 *
 * One root and named branches (keyed BLAKE2b over a label) instead of one key for all: a member can hold the branches
 * that it needs without the one that signs certificates.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';

const MESH_KEY_BYTES = 32;

/** What each member holds: enough to speak and to check, not to admit others. */
export interface MemberSecrets {
  /** The mesh's Ed25519 key: checks certificates. */
  readonly signing: { readonly publicKey: Buffer };
  /** Turns service names into DHT topics. */
  readonly topicKey: Buffer;
  /** Encrypts records. */
  readonly recordKey: Buffer;
  /** Authenticates each datagram of the DHT. */
  readonly packetKey: Buffer;
  /** Goes into the Noise prologue of hole-punched connections. */
  readonly prologue: Buffer;
}

/** What the holder of the mesh key has: it can sign certificates. */
export interface MeshSecrets extends MemberSecrets {
  readonly signing: { readonly publicKey: Buffer; readonly secretKey: Buffer };
}

/** A new mesh key as 64 hex digits. */
export function newMeshKey(): string {
  const key = Buffer.alloc(MESH_KEY_BYTES);
  sodium.randombytes_buf(key);
  return key.toString('hex');
}

/** Reads 64 hex digits. Throws an Error in plain words that does not repeat the key. */
export function parseMeshKey(text: string): Buffer {
  const digits = text.trim();
  if (!/^[0-9a-fA-F]{64}$/.test(digits)) {
    throw new Error(
      `The mesh key must be 64 hex digits (32 bytes); this one has ${digits.length} characters. Make one with \`dht-sidecar mesh new\`.`,
    );
  }
  return Buffer.from(digits, 'hex');
}

/** Derives all keys. Throws an Error in plain words for a wrong length or a key that nobody chose at random. */
export function fromMeshKey(key: Uint8Array): MeshSecrets {
  if (key.length !== MESH_KEY_BYTES) {
    throw new Error(`The mesh key must be ${MESH_KEY_BYTES} bytes long, not ${key.length}.`);
  }
  if (key.every((byte) => byte === key[0])) {
    throw new Error(
      'The mesh key is one byte repeated, not a random key. Make one with `dht-sidecar mesh new`.',
    );
  }
  const branch = (label: string): Buffer => {
    const out = Buffer.alloc(32);
    sodium.crypto_generichash(out, Buffer.from(`dht-sidecar ${label} v1`), key);
    return out;
  };
  const publicKey = Buffer.alloc(32);
  const secretKey = Buffer.alloc(64);
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, branch('certificate signing'));
  return {
    signing: { publicKey, secretKey },
    topicKey: branch('topics'),
    recordKey: branch('records'),
    packetKey: branch('packets'),
    prologue: branch('noise prologue'),
  };
}

/** A copy without the key that signs certificates. */
export function memberPart(secrets: MemberSecrets): MemberSecrets {
  const { signing, topicKey, recordKey, packetKey, prologue } = secrets;
  return { signing: { publicKey: signing.publicKey }, topicKey, recordKey, packetKey, prologue };
}
