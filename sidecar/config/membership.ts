/**
 * By what this worker is a member, and its name: the two go together, as a certificate names its worker.
 *
 * Checked at boot with the mesh's own code, handed in as a function, so that a damaged or expired certificate is a
 * mistake in the configuration and not a failure after the ports are bound.
 */
import type { Config, ServiceConfig } from './config.ts';
import type { HostFacts } from './host-facts.ts';
import type { Context } from './listeners.ts';
import { workerName } from './service-parsers.ts';

/** Throws in plain words when the key or certificate is no good, or not for this worker and its services. */
export type CheckMembership = (claim: {
  /** 32 bytes; null when `certBundle` is given. */
  readonly meshKey: Uint8Array | null;
  readonly certBundle: string | null;
  /** Null: the one in the certificate. */
  readonly workerId: string | null;
  readonly services: readonly string[];
  /** Where the key is that the certificate was made for; null for none, and with a mesh key. */
  readonly stateDir: string | null;
}) => { readonly workerId: string };

const UNNAMED = 'unnamed';

/** Name and membership; what is wrong with them becomes problems. */
export function workerAndMesh(
  context: Context,
  host: HostFacts,
  services: readonly ServiceConfig[],
  checkMembership: CheckMembership,
): { readonly workerId: string; readonly mesh: Config['mesh'] } {
  const { tree, problems } = context;
  const mesh = meshOf(context);
  const claimed = claimedName(context, host, mesh);
  // None or both: already a problem.
  if ((mesh.key === null) === (mesh.cert === null)) return { workerId: claimed ?? UNNAMED, mesh };
  const member = problems.attempt(tree.where(mesh.cert === null ? 'mesh.key' : 'mesh.cert'), () =>
    checkMembership({
      meshKey: mesh.key,
      certBundle: mesh.cert,
      workerId: claimed,
      services: services.map((service) => service.name),
      stateDir: mesh.cert === null ? null : tree.values.state.dir,
    }),
  );
  return { workerId: member?.workerId ?? UNNAMED, mesh };
}

/** Null: whatever the certificate says. */
function claimedName({ tree, problems }: Context, host: HostFacts, mesh: Config['mesh']): string | null {
  const given = tree.values.worker.id;
  if (given !== null) return given;
  if (mesh.key === null && mesh.cert !== null) return null;
  if (tree.failed.has('worker.id')) return UNNAMED;
  return problems.attempt('SIDECAR_WORKER_ID', () => workerName(host.hostName)) ?? UNNAMED;
}

function meshOf({ tree, problems }: Context): Config['mesh'] {
  const { key, cert } = tree.values.mesh;
  const failed = tree.failed.has('mesh.key') || tree.failed.has('mesh.cert');
  if (key === null && cert === null && !failed) {
    problems.add(
      'SIDECAR_MESH_KEY',
      'is missing; `dht-sidecar mesh new` makes a key (or give a certificate as SIDECAR_CERT)',
    );
  }
  if (key !== null && cert !== null) {
    problems.add(
      tree.where('mesh.cert'),
      `a mesh key is given as well (${tree.where('mesh.key')}); keep one of the two`,
    );
  }
  if (key !== null && !/^[0-9a-f]{64}$/i.test(key)) {
    problems.add(
      tree.where('mesh.key'),
      `must be 64 hex digits (32 bytes); this has ${key.length} characters`,
    );
    return { key: null, cert, certFile: null };
  }
  const certFile = /_FILE$|-file$/.test(tree.where('mesh.cert')) ? tree.file('mesh.cert') : null;
  return { key: key === null ? null : Buffer.from(key, 'hex'), cert, certFile };
}
