/**
 * Topics: under which 32 bytes a service is announced and looked up.
 *
 * Keyed BLAKE2b under the mesh's topic key instead of a plain hash of the name, so that a node outside the mesh cannot
 * tell which services exist nor announce itself for one.
 */
import sodium from 'sodium-universal';

/** A topic is 32 bytes: the length of a target in the DHT. */
const TOPIC_BYTES = 32;

/** Of each service; who announces, who looks and who stores must agree on it. */
export const SHARDS = 1;

/**
 * The topic of one shard of a service. The NUL bytes part the fields (a service name has none), so that no
 * two (service, shard) pairs share their input. `shard` counts from 0.
 */
export function topicOf(topicKey: Uint8Array, service: string, shard: number): Buffer {
  const topic = Buffer.alloc(TOPIC_BYTES);
  sodium.crypto_generichash(topic, Buffer.from(`service\0${service}\0${shard}`), topicKey);
  return topic;
}

/** The one shard that a worker announces on: its key is random, so its first bytes spread evenly. */
export function shardOf(publicKey: Uint8Array, shards: number): number {
  if (shards <= 1) return 0;
  return Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.byteLength).readUInt32BE(0) % shards;
}

/** All shards in random order, for a reader that asks some of them. `random` gives [0, 1). */
export function shuffledShards(shards: number, random: () => number): number[] {
  const order = Array.from({ length: Math.max(1, shards) }, (_, shard) => shard);
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other] ?? last, order[last] ?? other];
  }
  return order;
}
