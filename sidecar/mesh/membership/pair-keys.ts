/**
 * The pair keys: what two sidecars share because of who they are, and nobody else can compute.
 *
 * X25519 over the identity keys instead of a handshake: a first request needs no round trip, and every later one no
 * asymmetric work. Four keys come from it, one per direction and kind of message, with both identities and the mesh in
 * their derivation, so that a message for one worker, direction or mesh never fits another.
 */
import { Buffer } from 'node:buffer';
import sodium from 'sodium-universal';

export interface PairKeys {
  /** I call the peer. */
  readonly requestOut: Buffer;
  readonly responseIn: Buffer;
  /** The peer calls me. */
  readonly requestIn: Buffer;
  readonly responseOut: Buffer;
}

interface KeyHolder {
  readonly publicKey: Buffer;
  readonly secretKey: Buffer;
  readonly secrets: { readonly signing: { readonly publicKey: Buffer } };
}

/**
 * The X25519 key that an Ed25519 public key stands for; null when it is no point of the curve's prime-order group. Such
 * a key may sign all the same (one with a torsion part, every second message), and no secret is shared with it.
 */
export function curveKeyOf(publicKey: Buffer): Buffer | null {
  const curveKey = Buffer.alloc(32);
  try {
    sodium.crypto_sign_ed25519_pk_to_curve25519(curveKey, publicKey);
    return curveKey;
  } catch {
    return null;
  }
}

/** About 100 µs. Throws an Error when `peerKey` is not an Ed25519 public key in 64 hex digits. */
export function derivePairKeys(me: KeyHolder, peerKey: string): PairKeys {
  const peer = Buffer.from(peerKey, 'hex');
  const peerPoint = curveKeyOf(peer);
  if (peerPoint === null) throw new Error('A peer key must be an Ed25519 public key in 64 hex digits.');
  const mySecret = Buffer.alloc(32);
  const shared = Buffer.alloc(32);
  try {
    sodium.crypto_sign_ed25519_sk_to_curve25519(mySecret, me.secretKey);
    sodium.crypto_scalarmult(shared, mySecret, peerPoint);
    const key = (kind: 'request' | 'response', caller: Buffer, callee: Buffer): Buffer => {
      const out = Buffer.alloc(32);
      const label = Buffer.from(`dht-sidecar auth v1 ${kind}\0`);
      const input = Buffer.concat([label, me.secrets.signing.publicKey, caller, callee]);
      sodium.crypto_generichash(out, input, shared);
      return out;
    };
    return {
      requestOut: key('request', me.publicKey, peer),
      responseIn: key('response', me.publicKey, peer),
      requestIn: key('request', peer, me.publicKey),
      responseOut: key('response', peer, me.publicKey),
    };
  } finally {
    sodium.sodium_memzero(mySecret);
    sodium.sodium_memzero(shared);
  }
}
