/**
 * What deploy/ holds, read as those read it who run it: Docker Compose, systemd, Kubernetes. And each environment in it as
 * the program reads it, with secrets of the right kind in the files that it names.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import type { Config } from '../../../sidecar/config/config.ts';
import { loadConfig } from '../../../sidecar/config/load.ts';
import { createBundle } from '../../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey, parseMeshKey } from '../../../sidecar/mesh/membership/mesh-keys.ts';
import { configInput, MESH_KEY } from '../generators/config-input.ts';
import { mustHold } from '../runner/expectations.ts';

export const ROOT = new URL('../../../', import.meta.url).pathname;
export const IMAGE = 'dht-sidecar';
export const text = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** The moment of `configInput`, when memberships are checked. */
const NOW_SECONDS = 1_750_000_000;

type Env = Record<string, string>;

interface Deployed {
  /** File and name in it. */
  readonly where: string;
  readonly command: string;
  readonly env: Env;
}

/** As the program would read it there, with secrets of the right kind in the files that it names. */
export function configOf({ where, command, env }: Deployed): Config {
  const files: Env = {};
  for (const [name, path] of Object.entries(env)) {
    if (!name.endsWith('_FILE')) continue;
    if (name === 'SIDECAR_MESH_KEY_FILE') files[path] = MESH_KEY;
    else if (name === 'SIDECAR_CERT_FILE') files[path] = certificateFor(env);
    else files[path] = 'a-token-of-some-length';
  }
  try {
    const own = configInput({ env, files, addresses: ['127.0.0.1', env.SIDECAR_VPN_IP ?? '10.42.3.4'] });
    return loadConfig(own, command === 'bootstrap' ? 'bootstrap' : 'sidecar').config;
  } catch (error) {
    throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function certificateFor(env: Env): string {
  const offers = (env.SIDECAR_SERVICES || 'bootstrap').split(',').map((pair) => pair.split('=')[0] ?? '');
  const workerId = env.SIDECAR_WORKER_ID ?? 'some-node';
  const asked = { workerId, offers, calls: ['*'], days: 30, nowSeconds: NOW_SECONDS };
  return createBundle(fromMeshKey(parseMeshKey(MESH_KEY)), asked);
}

/** Lines of `NAME=value`; comments and empty lines are skipped. */
function envFile(content: string): Env {
  const lines = content.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

/** The same with the lines whose `#` stands before a name. */
const withAlternatives = (content: string): Env => envFile(content.replace(/^#(?=[A-Z_]+=)/gm, ''));

/** A length of time such as 130s, in seconds. */
export const seconds = (length: string): number => Number(/^(\d+)s$/.exec(length)?.[1]);

export const drainSeconds = ({ drain }: Config): number => (drain.acceptMs + drain.waitMs) / 1000;

// --- Docker Compose

interface ComposeService {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Env;
  readonly env_file?: readonly string[];
  readonly profiles?: readonly string[];
  readonly ports?: readonly string[];
  readonly secrets?: readonly string[];
  readonly volumes?: readonly string[];
  readonly network_mode?: string;
  readonly stop_grace_period?: string;
  readonly depends_on?: Readonly<Record<string, { readonly required?: boolean }>>;
}

interface ComposeFile {
  readonly services: Readonly<Record<string, ComposeService>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

export const MESH_FILE = 'deploy/compose/docker-compose.yml';
export const HOST_FILE = 'deploy/compose/host/docker-compose.yml';
const HOST_ENV = 'deploy/compose/host/env.example';

export const compose = (path: string): ComposeFile => parse(text(path), { merge: true }) as ComposeFile;

/** `${NAME:-default}` from the file `.env`. */
const filledIn = (environment: Env, from: Env): Env =>
  Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      value.replace(
        /\$\{(\w+):-([^}]*)\}/g,
        (_, other: string, otherwise: string) => from[other] || otherwise,
      ),
    ]),
  );

export function composeSidecars(path: string, shared: Env): Deployed[] {
  return Object.entries(compose(path).services)
    .filter(([, { image }]) => image === IMAGE)
    .map(([name, { command, environment, env_file }]) => ({
      where: `${path}: ${name}`,
      command: command?.[0] ?? 'run',
      env: { ...(env_file === undefined ? {} : shared), ...filledIn(environment ?? {}, shared) },
    }));
}

// --- systemd

export const UNITS = ['dht-sidecar', 'dht-bootstrap'] as const;

/** Every value of a key of a unit. */
export const unitValues = (unit: string, key: string): string[] =>
  [...text(`deploy/systemd/${unit}.service`).matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(
    ([, value]) => value ?? '',
  );

export function unitDeployed(unit: string): Deployed {
  const [file = ''] = unitValues(unit, 'EnvironmentFile');
  const example = `deploy/systemd/${file.slice(file.lastIndexOf('/') + 1)}.example`;
  return {
    where: `${unit}.service`,
    command: unitValues(unit, 'ExecStart')[0]?.split(' ').at(-1) ?? '',
    env: { ...envFile(unitValues(unit, 'Environment').join('\n')), ...envFile(text(example)) },
  };
}

// --- Kubernetes

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
}

export interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Record<string, unknown>;
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly { readonly name: string }[];
}

interface PodOwner {
  readonly name: string;
  readonly serviceName: string;
  readonly replicas: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: PodSpec;
}

interface Kustomization {
  readonly resources: readonly string[];
  readonly images: readonly { readonly name: string; readonly newTag: string }[];
}

export const kustomization = parse(text('deploy/kubernetes/kustomization.yaml')) as Kustomization;

export const kubernetes: readonly KubernetesObject[] = kustomization.resources.flatMap((file) =>
  parseAllDocuments(text(`deploy/kubernetes/${file}`)).map((document) => document.toJS() as KubernetesObject),
);

export const podOwners: readonly PodOwner[] = kubernetes
  .filter(({ kind }) => kind === 'StatefulSet')
  .map(({ metadata, spec }) => {
    const { template, serviceName, replicas } = spec as {
      template: { metadata: { labels: Record<string, string> }; spec: PodSpec };
      serviceName: string;
      replicas: number;
    };
    const { labels } = template.metadata;
    return { name: metadata.name, serviceName, replicas, labels, spec: template.spec };
  });

export const containersOf = ({ initContainers = [], containers }: PodSpec): readonly Container[] => [
  ...initContainers,
  ...containers,
];

/** Its environment as the kubelet makes it, for the first pod. */
export function containerDeployed({ name, spec }: PodOwner): Deployed {
  const container = containersOf(spec).find(({ image }) => image === IMAGE);
  mustHold(container, `${name} has no container of the image`);
  const known: Env = {};
  for (const { name: variable, value } of container.env ?? []) {
    const field = variable === 'POD_IP' ? '10.244.1.7' : `${name}-0`;
    known[variable] = value?.replace(/\$\((\w+)\)/g, (_, other: string) => known[other] ?? '?') ?? field;
  }
  return { where: `kubernetes: ${name}`, command: container.args?.[0] ?? 'run', env: known };
}

// --- all of them

export const hostEnv = envFile(text(HOST_ENV));
export const deployed: readonly Deployed[] = [
  ...composeSidecars(MESH_FILE, {}),
  ...composeSidecars(HOST_FILE, hostEnv),
  {
    where: `${HOST_ENV}: by tunnel`,
    command: 'run',
    env: { ...withAlternatives(text(HOST_ENV)), SIDECAR_CERT_FILE: 'c', SIDECAR_ADMIN_TOKEN_FILE: 't' },
  },
  ...UNITS.map(unitDeployed),
  ...podOwners.map(containerDeployed),
];

export function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}
