/**
 * Declarations of the part of sodium-universal that mesh/ uses; the package ships none.
 *
 * Each function asserts the sizes of its buffers and throws an AssertionError when one is wrong, also where it
 * otherwise answers with a boolean. Output buffers come first and are filled in place.
 */
declare module 'sodium-universal' {
  interface Sodium {
    readonly crypto_generichash_BYTES_MIN: number;
    readonly crypto_aead_xchacha20poly1305_ietf_ABYTES: number;
    readonly crypto_aead_xchacha20poly1305_ietf_NPUBBYTES: number;

    randombytes_buf(output: Uint8Array): void;
    /** Constant time; throws when the lengths differ. */
    sodium_memcmp(a: Uint8Array, b: Uint8Array): boolean;
    sodium_memzero(buffer: Uint8Array): void;

    /** BLAKE2b of `input` into all of `output` (16 to 64 bytes), keyed with 16 to 64 bytes. */
    crypto_generichash(output: Uint8Array, input: Uint8Array, key?: Uint8Array): void;

    crypto_sign_keypair(publicKey: Uint8Array, secretKey: Uint8Array): void;
    crypto_sign_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void;
    crypto_sign_detached(signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array): void;
    /** False for a wrong signature and for a public key of small order. */
    crypto_sign_verify_detached(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean;
    /** Throws when the key is not a point of the main subgroup. */
    crypto_sign_ed25519_pk_to_curve25519(curveKey: Uint8Array, publicKey: Uint8Array): void;
    crypto_sign_ed25519_sk_to_curve25519(curveKey: Uint8Array, secretKey: Uint8Array): void;
    /** Throws when the result is all zero. */
    crypto_scalarmult(shared: Uint8Array, secretKey: Uint8Array, publicKey: Uint8Array): void;

    /** The box is 48 bytes longer than the message. */
    crypto_box_seal(box: Uint8Array, message: Uint8Array, publicKey: Uint8Array): void;
    /** False when it was not made for this key, or changed. */
    crypto_box_seal_open(
      message: Uint8Array,
      box: Uint8Array,
      publicKey: Uint8Array,
      secretKey: Uint8Array,
    ): boolean;

    /** Returns the number of bytes written; the fourth argument is libsodium's unused `nsec`. */
    crypto_aead_xchacha20poly1305_ietf_encrypt(
      ciphertext: Uint8Array,
      message: Uint8Array,
      additional: Uint8Array | null,
      nsec: null,
      nonce: Uint8Array,
      key: Uint8Array,
    ): number;
    /** Throws when the ciphertext was not made with this key, nonce and additional data. */
    crypto_aead_xchacha20poly1305_ietf_decrypt(
      message: Uint8Array,
      nsec: null,
      ciphertext: Uint8Array,
      additional: Uint8Array | null,
      nonce: Uint8Array,
      key: Uint8Array,
    ): number;
  }
  const sodium: Sodium;
  export default sodium;
}
