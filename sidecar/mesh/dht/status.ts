/**
 * What to say of a DHT node's place in the network: alone, connected or unreachable, and what to do.
 *
 * A pure function of a few facts instead of log lines where they arise, because the log, `/readyz` and `doctor` must
 * all say the same, and "joined" with nobody there must never be said.
 */
import type { BootstrapNodeState, Contact } from './bootstrap-nodes.ts';

export interface DhtStatus {
  /** `alone`: nobody to join and nobody known. `unreachable`: somebody should answer, and nobody does. */
  readonly kind: 'alone' | 'connected' | 'unreachable';
  /** Other storing nodes in the routing table. */
  readonly nodes: number;
  /** One sentence for the operator. */
  readonly hint: string;
  /** The setting by which another sidecar joins through this one; null for a client, which cannot be joined. */
  readonly joinLine: string | null;
  readonly bootstrapNodes: readonly BootstrapNodeState[];
  /** Datagrams that carried no valid mark of the mesh key. */
  readonly rejectedDatagrams: number;
}

/** A node with another mesh key is as silent as one that is not there. */
const WHY_MUTE =
  'is it running, does a firewall let UDP through both ways, is the VPN up, has it the same mesh key?';

export interface DhtFacts {
  readonly contact: Contact;
  readonly nodes: number;
  /** host:port of this node, when others can join by it. */
  readonly joinAddress: string | null;
  readonly bootstrapNodes: readonly BootstrapNodeState[];
  readonly rejectedDatagrams: number;
}

export function describeDht(facts: DhtFacts): DhtStatus {
  const kind = kindOf(facts);
  const joinLine = facts.joinAddress === null ? null : `SIDECAR_BOOTSTRAP=${facts.joinAddress}`;
  const { nodes, bootstrapNodes, rejectedDatagrams } = facts;
  return { kind, nodes, hint: hintOf(kind, facts, joinLine), joinLine, bootstrapNodes, rejectedDatagrams };
}

function kindOf(facts: DhtFacts): DhtStatus['kind'] {
  if (facts.contact === 'silent') return 'unreachable';
  if (facts.nodes > 0 || facts.contact === 'answering') return 'connected';
  return facts.bootstrapNodes.length > 0 ? 'unreachable' : 'alone';
}

function hintOf(kind: DhtStatus['kind'], facts: DhtFacts, joinLine: string | null): string {
  const rejected = facts.rejectedDatagrams;
  const strangers = rejected > 0 ? [`${rejected} datagrams with another mesh key or none were dropped.`] : [];
  switch (kind) {
    case 'alone': {
      const way =
        joinLine === null
          ? 'No node of the DHT is configured: set SIDECAR_BOOTSTRAP to any other node.'
          : `This is the only node; others join with ${joinLine}.`;
      return [way, ...strangers].join(' ');
    }
    case 'connected': {
      const { nodes } = facts;
      const known = `${nodes} other ${nodes === 1 ? 'node' : 'nodes'} known.`;
      const parts = [nodes === 0 ? 'A node answers, but none is known that stores.' : known];
      const mute = addresses(facts, 'no');
      const nameless = addresses(facts, 'no_such_name');
      const foreign = addresses(facts, 'foreign');
      if (mute !== '') parts.push(`No response from ${mute}.`);
      if (nameless !== '') parts.push(`No address found for the name in ${nameless}.`);
      if (foreign !== '') parts.push(`${foreign} answers from behind NAT: use its own address.`);
      return [...parts, ...strangers].join(' ');
    }
    case 'unreachable':
      return [whyUnreachable(facts), ...strangers].join(' ');
  }
}

function whyUnreachable(facts: DhtFacts): string {
  const mute = addresses(facts, 'no');
  const nameless = addresses(facts, 'no_such_name');
  const waiting = addresses(facts, 'not_asked');
  if (mute !== '') {
    return `UDP to ${mute} gets no response: ${WHY_MUTE}`;
  }
  if (nameless !== '')
    return `No address found for the name in ${nameless}: check SIDECAR_BOOTSTRAP and DNS.`;
  if (waiting !== '') return `UDP to ${waiting} got no response yet: ${WHY_MUTE}`;
  return 'No node that was known answers any more: is the network (VPN) up, is UDP let through?';
}

function addresses(facts: DhtFacts, answer: BootstrapNodeState['answer']): string {
  return facts.bootstrapNodes
    .filter((node) => node.answer === answer)
    .map((node) => node.address)
    .join(', ');
}
