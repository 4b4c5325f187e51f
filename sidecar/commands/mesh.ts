/**
 * `dht-sidecar mesh new`, `join`, `sign`, `cert` and `revoke`: the keys of a mesh.
 *
 * Nothing but the key, request or certificate goes to standard output, so that `> file` and `$(…)` take exactly that; what to do
 * with it is said on standard error.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { loadOptions } from '../config/load.ts';
import { ConfigError } from '../config/problems.ts';
import { type Certificate, isWorkerId } from '../core/peers/certificate.ts';
import { isServiceName } from '../core/service-name.ts';
import {
  type BundleRequest,
  createBundle,
  lifeOf,
  parseBundle,
} from '../mesh/membership/certificate-bundle.ts';
import {
  answerJoin,
  isJoinRequest,
  makeJoinRequest,
  readJoinRequest,
} from '../mesh/membership/join-request.ts';
import { fromMeshKey, type MeshSecrets, newMeshKey, parseMeshKey } from '../mesh/membership/mesh-keys.ts';
import { MAX_REVOKED, readRevocations, signRevocations } from '../mesh/membership/revocations.ts';
import { keptSeed } from '../mesh/membership/worker-key.ts';
import { type Command, type CommandContext, EXIT_OK } from './command.ts';

const ANY = '*';
const NO_WORKER_ID = '--worker-id: give the name of the worker (1 to 128 visible ASCII characters)';
const CERTIFICATE_OPTIONS = {
  'worker-id': 'value',
  services: 'value',
  calls: 'value',
  days: 'value',
  out: 'value',
  json: 'flag',
} as const;

export const mesh: Command = {
  help: `Usage: dht-sidecar mesh new [--out FILE] [--json]
       dht-sidecar mesh join --worker-id ID --state-dir DIR [--json]
       dht-sidecar mesh sign REQUEST --services a,b [--worker-id ID] [--calls a,b] [--days 30] [--out FILE] [--json]
       dht-sidecar mesh cert --worker-id ID --services a,b [--calls a,b] [--days 30] [--out FILE] [--json]
       dht-sidecar mesh revoke KEY… --list FILE

new   prints a new mesh key: all sidecars of a mesh have the same one, and whoever has it is a member.
join  on the worker: makes its key in the state directory and prints a request, which is no secret.
sign  where the mesh key is: answers a request (the line, or a file with it) with a certificate for that key. The
      worker gets it as SIDECAR_CERT or SIDECAR_CERT_FILE, with the same SIDECAR_STATE_DIR. It is sealed for that
      worker, so it may be sent by any way; neither the mesh key nor the worker's key leaves its machine.
cert  prints a certificate for one worker, signed with the mesh key (SIDECAR_MESH_KEY, SIDECAR_MESH_KEY_FILE
      or --mesh-key-file): the worker gets it as SIDECAR_CERT or SIDECAR_CERT_FILE instead of the mesh key,
      and cannot admit others. It holds the worker's private key: keep it as secret as the mesh key.
revoke  adds worker keys (as sign and \`peers --json\` show them) to a signed list, which it makes where there is none.
      Give the list to any sidecar: \`curl -T FILE http://127.0.0.1:9464/revoked\`; the others have it from there
      within seconds, and keep it. The newest list counts alone: add to the one that you have. A worker with a mesh key in place of a certificate makes itself a new one.

  --worker-id ID        the worker's name; its SIDECAR_WORKER_ID must be the same
  --services a,b        services that it may offer; '*' for any
  --calls a,b           services that it may call; '*' (the default) for any
  --days N              how long it is valid, 30 by default
  --mesh-key-file PATH  file with the mesh key
  --out FILE            writes it there instead, readable by its owner alone; a file that is there is kept
`,

  run(context) {
    const [action, ...args] = context.args;
    if (action === 'new') return Promise.resolve(newKey({ ...context, args }));
    if (action === 'cert') return Promise.resolve(newCertificate({ ...context, args }));
    if (action === 'join') return Promise.resolve(newRequest({ ...context, args }));
    if (action === 'sign') return Promise.resolve(signRequest({ ...context, args }));
    if (action === 'revoke') return Promise.resolve(revoke({ ...context, args }));
    return Promise.reject(
      new ConfigError([
        'mesh: say `mesh new`, `join`, `sign`, `cert` or `revoke`; see `dht-sidecar mesh --help`',
      ]),
    );
  },
};

function newKey(context: CommandContext): number {
  // The environment is not looked at: a first key is made before there is any.
  const { own } = loadOptions(
    { ...context, env: {} },
    { own: { out: 'value', json: 'flag' }, maxPositionals: 0 },
  );
  const key = newMeshKey();
  const given = giving(context, own.get('out'));
  given.out(own.has('json') ? `${JSON.stringify({ mesh_key: key })}\n` : `${key}\n`);
  context.err('Give it to each sidecar as SIDECAR_MESH_KEY, or in a file named by SIDECAR_MESH_KEY_FILE.\n');
  return EXIT_OK;
}

function newCertificate(context: CommandContext): number {
  const { values, own } = loadOptions(context, { own: CERTIFICATE_OPTIONS, maxPositionals: 0 });
  const problems: string[] = [];
  const asked = askedFor(own, null, problems);
  const secrets = secretsOf(values.mesh.key, problems);
  const { nowMs } = context;
  const made = attempt(
    'mesh cert',
    () => createBundle(secrets, { ...asked, nowSeconds: nowMs() / 1000 }),
    problems,
  );
  const { certificate } = parseBundle(made);
  print(giving(context, own.get('out')), own.has('json'), made, certificate, 'Give it to that worker alone');
  return EXIT_OK;
}

function newRequest(context: CommandContext): number {
  const { values, own } = loadOptions(context, { own: { json: 'flag' }, maxPositionals: 0 });
  const problems: string[] = [];
  const workerId = values.worker.id ?? '';
  if (!isWorkerId(workerId)) problems.push(NO_WORKER_ID);
  const { dir } = values.state;
  if (dir === null) problems.push('--state-dir: is missing; the key of this worker is made there');
  if (problems.length > 0 || dir === null) throw new ConfigError(problems);
  const { seed, fault } = attempt('--state-dir', () => keptSeed(dir), problems);
  if (fault !== null) throw new ConfigError([`--state-dir: the key cannot be kept: ${fault}`]);
  const request = makeJoinRequest(seed, workerId);
  const workerKey = readJoinRequest(request).workerKey.toString('hex');
  context.out(
    own.has('json')
      ? `${JSON.stringify({ request, worker_id: workerId, worker_key: workerKey })}\n`
      : `${request}\n`,
  );
  context.err(
    `Key ${workerKey} of worker ${workerId}. Send this line to whoever has the mesh key, who answers it with \`dht-sidecar mesh sign\`; it is no secret.\n`,
  );
  return EXIT_OK;
}

function signRequest(context: CommandContext): number {
  const { values, own, positionals } = loadOptions(context, { own: CERTIFICATE_OPTIONS, maxPositionals: 1 });
  const problems: string[] = [];
  const [given] = positionals;
  if (given === undefined)
    throw new ConfigError(['mesh sign: give the line that `mesh join` printed, or a file with it']);
  const request = attempt(
    'mesh sign',
    () => readJoinRequest(isJoinRequest(given) ? given : context.readText(given)),
    problems,
  );
  const asked = askedFor(own, request.workerId, problems);
  const secrets = secretsOf(values.mesh.key, problems);
  const nowSeconds = context.nowMs() / 1000;
  const made = attempt('mesh sign', () => answerJoin(secrets, request, { ...asked, nowSeconds }), problems);
  const certificate = {
    ...asked,
    workerKey: request.workerKey.toString('hex'),
    ...lifeOf(asked.days, nowSeconds),
  };
  print(
    giving(context, own.get('out')),
    own.has('json'),
    made,
    certificate,
    'Send it to that worker, which alone can open it',
  );
  return EXIT_OK;
}

function revoke(context: CommandContext): number {
  const line = { own: { list: 'value' }, maxPositionals: MAX_REVOKED } as const;
  const { values, own, positionals } = loadOptions(context, line);
  const problems: string[] = [];
  const file = own.get('list');
  if (positionals.length === 0) problems.push('mesh revoke: give the key of a worker (64 hex digits)');
  if (typeof file !== 'string') problems.push('--list: is missing; the file of the list');
  const secrets = secretsOf(values.mesh.key, problems);
  const list = String(file);
  const known = existsSync(list) ? readRevocations(secrets, context.readText(list)) : null;
  if (known === null && existsSync(list))
    throw new ConfigError([`--list: ${list} is no list that this mesh key has signed`]);
  const keys = [...(known?.keys ?? []), ...positionals.map((key) => key.toLowerCase())];
  const madeMs = Math.max(context.nowMs(), (known?.madeMs ?? 0) + 1);
  const text = attempt('mesh revoke', () => signRevocations(secrets, keys, madeMs), problems);
  writeWhole(list, `${text}\n`);
  context.out(`${text}\n`);
  context.err(
    `${new Set(keys).size} keys are revoked. Give ${list} to any sidecar: curl -T ${list} http://127.0.0.1:9464/revoked\n`,
  );
  return EXIT_OK;
}

function print(
  context: CommandContext,
  isJson: boolean,
  cert: string,
  certificate: Certificate,
  whatToDo: string,
): void {
  const { workerKey, workerId, offers, calls, notBefore, notAfter } = certificate;
  const facts = {
    worker_id: workerId,
    worker_key: workerKey,
    offers,
    calls,
    not_before: notBefore,
    not_after: notAfter,
  };
  context.out(isJson ? `${JSON.stringify({ cert, ...facts })}\n` : `${cert}\n`);
  const ends = new Date(notAfter * 1000).toISOString();
  context.err(
    `For worker ${workerId} with the key ${workerKey}, valid until ${ends}. ${whatToDo}, as SIDECAR_CERT or SIDECAR_CERT_FILE.\n`,
  );
}

/** What the certificate is to say. `workerId`: where it is not given. */
function askedFor(
  own: ReadonlyMap<string, string | true>,
  workerId: string | null,
  problems: string[],
): Omit<BundleRequest, 'nowSeconds'> {
  const name = String(own.get('worker-id') ?? workerId ?? '');
  if (!isWorkerId(name)) problems.push(NO_WORKER_ID);
  const offers = names('--services', own.get('services'), null, problems);
  const calls = names('--calls', own.get('calls'), ANY, problems);
  const days = Number(own.get('days') ?? 30);
  if (!(days > 0 && days <= 3650)) problems.push('--days: must be a number above 0, at most 3650');
  return { workerId: name, offers, calls, days };
}

/** Throws with all problems so far. */
function secretsOf(key: string | null, problems: string[]): MeshSecrets {
  if (key === null) problems.push('SIDECAR_MESH_KEY: is missing; the certificate is signed with it');
  const secrets =
    key === null ? null : attempt('SIDECAR_MESH_KEY', () => fromMeshKey(parseMeshKey(key)), problems);
  if (problems.length > 0 || secrets === null) throw new ConfigError(problems);
  return secrets;
}

/** What it gives goes to standard output, or into a new file that nobody else may read. */
function giving(context: CommandContext, file: string | true | undefined): CommandContext {
  return typeof file === 'string' ? { ...context, out: (text) => writeNew(file, text) } : context;
}

function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError([
      code === 'EEXIST'
        ? '--out: there is such a file already; it is kept as it is'
        : `--out: the file cannot be written (${code ?? 'unknown fault'})`,
    ]);
  }
}

/** All of it or nothing: a list that is half there has lost whom it named. */
function writeWhole(file: string, text: string): void {
  try {
    writeFileSync(`${file}.draft`, text, { flush: true });
    renameSync(`${file}.draft`, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError([`--list: the file cannot be written (${code ?? 'unknown fault'})`]);
  }
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

/** Throws with all problems when this one is added to them. */
function attempt<T>(where: string, make: () => T, problems: readonly string[]): T {
  try {
    return make();
  } catch (error) {
    throw new ConfigError([...problems, `${where}: ${error instanceof Error ? error.message : 'failed'}`]);
  }
}
