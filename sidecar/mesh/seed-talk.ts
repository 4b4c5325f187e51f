/**
 * How Seeds speak: the few calls of hyperdht that find, ask and list other nodes.
 *
 * Apart from Seeds, so that their rules are tested without a network, and from dht-node, which is about what
 * is looked up and stored. It must not know when anybody is asked.
 */
import { lookup as resolveName } from 'node:dns/promises';
import HyperDHT, { type DhtAddress } from 'hyperdht';
import type { RunningQueries } from './running-queries.ts';
import type { SeedTalk } from './seeds.ts';

/** `own`: where this node is bound; it gives a client, which has no place in the DHT, one to walk to. */
export function seedTalk(dht: HyperDHT, own: DhtAddress, queries: RunningQueries): SeedTalk {
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
    resolve: async (host) => (await resolveName(host, { family: 4 })).address,
  };
}
