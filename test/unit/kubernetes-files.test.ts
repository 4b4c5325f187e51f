/**
 * deploy/kubernetes: objects as the API has them, which find each other and mean the same ports.
 *
 * They are checked with the validators that kubernetes-models makes from the API's OpenAPI schema and the Prometheus
 * operator's CRDs. Those let unknown fields pass, as JSON Schema does; a field that a validator never looks at is one that
 * the API does not know, so what is looked at is recorded.
 */

import { describe, expect, test } from '@jest/globals';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
import { StatefulSet } from 'kubernetes-models/apps/v1';
import { Service } from 'kubernetes-models/v1';
import {
  configOf,
  containerDeployed,
  containersOf,
  filesUnder,
  type KubernetesObject,
  kubernetes,
  kustomization,
  podOwners,
} from '../support/host/deployments.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const MODELS = { StatefulSet, Service, PodMonitor };

/** What the API would say of it; none where it is right. */
function mistakes(object: KubernetesObject): string[] {
  const read = new Map<object, Set<string>>();
  const paths = new Map<object, string>();
  const watched = <T>(value: T, path: string): T => {
    if (typeof value !== 'object' || value === null) return value;
    paths.set(value, path);
    read.set(value, new Set());
    const inner = new Map(
      Object.entries(value).map(([key, child]) => [key, watched(child, `${path}/${key}`)]),
    );
    return new Proxy(value, {
      get: (target, key) => {
        if (typeof key === 'string') read.get(target)?.add(key);
        return inner.get(String(key)) ?? Reflect.get(target, key);
      },
    });
  };
  const model = MODELS[object.kind as keyof typeof MODELS];
  mustHold(model, `no schema for ${object.kind}`);
  try {
    // Its constructor would copy what is watched.
    model.prototype.validate.call(watched(object, '') as never);
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
  return [...read].flatMap(([value, seen]) =>
    Object.keys(value)
      .filter((key) => !seen.has(key))
      .map((key) => `${paths.get(value)} has no field ${key}`),
  );
}

describe('deploy/kubernetes', () => {
  test.each(kubernetes.map((object) => [`${object.kind} ${object.metadata.name}`, object] as const))(
    '%s is an object as the API has it',
    (_, object) => {
      expect(mistakes(object)).toStrictEqual([]);
    },
  );

  test('the check finds a field that the API does not know, a wrong type and a missing field', () => {
    const owner = kubernetes.find(
      ({ metadata, kind }) => kind === 'StatefulSet' && metadata.name === 'llm-inference',
    );
    const monitor = kubernetes.find(({ kind }) => kind === 'PodMonitor');
    mustHold(owner && monitor);
    const changed = (object: KubernetesObject, from: string, to: string): KubernetesObject => {
      const json = JSON.stringify(object);
      expect(json).toContain(from);
      return JSON.parse(json.replace(from, to)) as KubernetesObject;
    };
    expect(mistakes(changed(owner, '"restartPolicy"', '"restartPolice"'))).toStrictEqual([
      '/spec/template/spec/initContainers/0 has no field restartPolice',
    ]);
    expect(mistakes(changed(owner, '"containerPort":8000', '"containerPort":"8000"'))).toHaveLength(1);
    expect(mistakes(changed(owner, '"serviceName":"llm-inference",', ''))).toHaveLength(0);
    expect(mistakes(changed(owner, '"selector":', '"selectors":'))).not.toHaveLength(0);
    expect(mistakes(changed(monitor, '"path":"/metrics"', '"pathe":"/metrics"'))).toStrictEqual([
      '/spec/podMetricsEndpoints/0 has no field pathe',
    ]);
  });

  test('every file of the folder is a resource', () => {
    const files = filesUnder('deploy/kubernetes').map((path) => path.slice('deploy/kubernetes/'.length));
    expect(
      files.filter((file) => file.endsWith('.yaml') && file !== 'kustomization.yaml').sort(),
    ).toStrictEqual([...kustomization.resources].sort());
  });

  test('the sidecar goes on beside the worker, and its ports are those that it listens on', () => {
    const worker = podOwners.find(({ name }) => name === 'llm-inference');
    mustHold(worker);
    const [sidecar] = worker.spec.initContainers ?? [];
    mustHold(sidecar);
    expect(sidecar.restartPolicy).toBe('Always');
    const { admin, inbound, services } = configOf(containerDeployed(worker));
    expect(sidecar.ports).toStrictEqual([
      { name: 'inbound', containerPort: inbound.listen.port },
      { name: 'admin', containerPort: admin.listen.port },
    ]);
    for (const probe of [sidecar.startupProbe, sidecar.livenessProbe])
      expect(probe?.httpGet).toStrictEqual({ path: '/livez', port: 'admin' });
    const args = worker.spec.containers[0]?.args ?? [];
    expect(services.flatMap(({ urls }) => urls.map(({ port }) => String(port)))).toStrictEqual([
      args[args.indexOf('--port') + 1],
    ]);
    expect(JSON.stringify(worker.spec.containers[0])).toContain(`/${admin.listen.port}\\")`);
  });

  test('what refers to another by name finds it: Services, volumes, secrets, the monitor', () => {
    const heads = kubernetes.filter(({ kind }) => kind === 'Service').map(({ metadata }) => metadata.name);
    for (const owner of podOwners) {
      expect(heads).toContain(owner.serviceName);
      const volumes = owner.spec.volumes.map(({ name }) => name);
      const mounts = containersOf(owner.spec).flatMap(({ volumeMounts = [] }) => volumeMounts);
      for (const { name } of mounts) expectNamed(volumes, owner.name).toContain(name);
      for (const name of volumes)
        expectNamed(
          mounts.map((mount) => mount.name),
          owner.name,
        ).toContain(name);
      const { env, where } = containerDeployed(owner);
      for (const [variable, path] of Object.entries(env).filter(([name]) => /_FILE$|_DIR$/.test(name))) {
        const isMounted = mounts.some(({ mountPath }) => `${path}/`.startsWith(`${mountPath}/`));
        expectNamed(isMounted, `${where}: ${variable}`).toBe(true);
      }
    }
    const monitor = kubernetes.find(({ kind }) => kind === 'PodMonitor')?.spec as {
      selector: { matchLabels: Record<string, string> };
      podMetricsEndpoints: { port: string; path: string }[];
    };
    const seen = podOwners.filter(({ labels }) =>
      Object.entries(monitor.selector.matchLabels).every(([name, value]) => labels[name] === value),
    );
    expect(seen.map(({ name }) => name)).toStrictEqual(['llm-inference']);
    for (const { port } of monitor.podMetricsEndpoints) {
      for (const { spec } of seen)
        expect(containersOf(spec).flatMap(({ ports = [] }) => ports.map(({ name }) => name))).toContain(port);
    }
  });
});
