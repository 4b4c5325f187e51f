/**
 * A DHT node of a command, that belongs to no sidecar: with the key of the mesh that the configuration gives, and with
 * nothing kept on disk.
 */
import type { Config } from '../config/config.ts';
import type { HostPort } from '../core/host-port.ts';
import type { Log } from '../core/log.ts';
import { systemClock } from '../mesh/clock.ts';
import { type DhtNode, startDhtNode } from '../mesh/dht/node.ts';
import { SHARDS } from '../mesh/dht/topic.ts';
import { storeRules } from '../mesh/discovery/store-rules.ts';
import { openIdentity } from '../mesh/membership/identity.ts';

export interface CommandNode {
  /** `client`: it asks, and stores nothing for others. */
  readonly role: 'bootstrap' | 'client';
  readonly listen: HostPort;
  readonly bootstrap: readonly HostPort[];
  readonly log: Log;
}

/** The caller destroys it. */
export function startCommandNode(config: Config, nowMs: number, node: CommandNode): Promise<DhtNode> {
  const identity = openIdentity({
    meshKey: config.mesh.key,
    certBundle: config.mesh.cert,
    workerId: config.worker.id,
    services: [],
    stateDir: config.mesh.cert === null ? null : config.state.dir,
    nowMs,
  });
  return startDhtNode({
    role: node.role,
    ...node.listen,
    preferredPort: null,
    bootstrap: node.bootstrap,
    knownNodes: [],
    packetKey: identity.secrets.packetKey,
    storeRules: storeRules(identity, SHARDS, systemClock),
    maxAgeMs: config.dht.maxAgeMs,
    clock: systemClock,
    log: node.log,
  });
}
