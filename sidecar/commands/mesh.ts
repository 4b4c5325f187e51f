/**
 * `dht-sidecar mesh new` and `dht-sidecar mesh cert`: the keys of a mesh.
 *
 * Nothing but the key or certificate goes to standard output, so that `> file` and `$(…)` take exactly that; what to do
 * with it is said on standard error.
 */
import { loadOptions } from '../config/load.ts';
import { ConfigError } from '../config/problems.ts';
import { isWorkerId } from '../core/peers/certificate.ts';
import { isServiceName } from '../core/service-name.ts';
import { createBundle, parseBundle } from '../mesh/membership/certificate-bundle.ts';
import { fromMeshKey, newMeshKey, parseMeshKey } from '../mesh/membership/mesh-keys.ts';
import { type Command, type CommandContext, EXIT_OK } from './command.ts';

const ANY = '*';

export const mesh: Command = {
  help: `Usage: dht-sidecar mesh new [--json]
       dht-sidecar mesh cert --worker-id ID --services a,b [--calls a,b] [--days 30] [--json]

new   prints a new mesh key: all sidecars of a mesh have the same one, and whoever has it is a member.
cert  prints a certificate for one worker, signed with the mesh key (SIDECAR_MESH_KEY, SIDECAR_MESH_KEY_FILE
      or --mesh-key-file): the worker gets it as SIDECAR_CERT or SIDECAR_CERT_FILE instead of the mesh key,
      and cannot admit others. It holds the worker's private key: keep it as secret as the mesh key.

  --worker-id ID        the worker's name; its SIDECAR_WORKER_ID must be the same
  --services a,b        services that it may offer; '*' for any
  --calls a,b           services that it may call; '*' (the default) for any
  --days N              how long it is valid, 30 by default
  --mesh-key-file PATH  file with the mesh key
`,

  run(context) {
    const [action, ...args] = context.args;
    if (action === 'new') return Promise.resolve(newKey({ ...context, args }));
    if (action === 'cert') return Promise.resolve(newCertificate({ ...context, args }));
    return Promise.reject(
      new ConfigError(['mesh: say `mesh new` or `mesh cert`; see `dht-sidecar mesh --help`']),
    );
  },
};

function newKey(context: CommandContext): number {
  // The environment is not looked at: a first key is made before there is any.
  const { own } = loadOptions({ ...context, env: {} }, { own: { json: 'flag' }, maxPositionals: 0 });
  const key = newMeshKey();
  context.out(own.has('json') ? `${JSON.stringify({ mesh_key: key })}\n` : `${key}\n`);
  context.err('Give it to each sidecar as SIDECAR_MESH_KEY, or in a file named by SIDECAR_MESH_KEY_FILE.\n');
  return EXIT_OK;
}

function newCertificate(context: CommandContext): number {
  const { values, own } = loadOptions(context, {
    own: { 'worker-id': 'value', services: 'value', calls: 'value', days: 'value', json: 'flag' },
    maxPositionals: 0,
  });
  const problems: string[] = [];
  const workerId = String(own.get('worker-id') ?? '');
  if (!isWorkerId(workerId)) {
    problems.push('--worker-id: give the name of the worker (1 to 128 visible ASCII characters)');
  }
  const offers = names('--services', own.get('services'), null, problems);
  const calls = names('--calls', own.get('calls'), ANY, problems);
  const days = Number(own.get('days') ?? 30);
  if (!(days > 0 && days <= 3650)) problems.push('--days: must be a number above 0, at most 3650');
  const key = values.mesh.key;
  if (key === null) problems.push('SIDECAR_MESH_KEY: is missing; the certificate is signed with it');
  const secrets =
    key === null ? null : attempt('SIDECAR_MESH_KEY', () => fromMeshKey(parseMeshKey(key)), problems);
  if (problems.length > 0 || secrets === null) throw new ConfigError(problems);

  const nowSeconds = context.nowMs() / 1000;
  const made = attempt(
    'mesh cert',
    () => createBundle(secrets, { workerId, offers, calls, days, nowSeconds }),
    problems,
  );
  if (made === null) throw new ConfigError(problems);
  const { certificate } = parseBundle(made);
  const ends = new Date(certificate.notAfter * 1000).toISOString();
  if (own.has('json')) {
    const { workerKey, notBefore, notAfter } = certificate;
    context.out(
      `${JSON.stringify({ cert: made, worker_id: workerId, worker_key: workerKey, offers, calls, not_before: notBefore, not_after: notAfter })}\n`,
    );
  } else context.out(`${made}\n`);
  context.err(
    `For worker ${workerId}, valid until ${ends}. Give it to that worker alone, as SIDECAR_CERT or SIDECAR_CERT_FILE.\n`,
  );
  return EXIT_OK;
}

function names(
  option: string,
  given: string | true | undefined,
  otherwise: string | null,
  problems: string[],
): string[] {
  const text = typeof given === 'string' ? given : otherwise;
  if (text === null) {
    problems.push(`${option}: is missing; give names with commas, or '*' for any service`);
    return [];
  }
  if (text.trim() === ANY) return [ANY];
  const found = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  const wrong = found.filter((name) => !isServiceName(name));
  if (found.length === 0 || wrong.length > 0) {
    problems.push(
      `${option}: ${wrong.length > 0 ? `${JSON.stringify(wrong[0])} is not a service name` : 'is empty'}`,
    );
  }
  return found;
}

function attempt<T>(where: string, make: () => T, problems: string[]): T | null {
  try {
    return make();
  } catch (error) {
    problems.push(`${where}: ${error instanceof Error ? error.message : 'failed'}`);
    return null;
  }
}
