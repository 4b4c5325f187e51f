/**
 * The files in deploy/ for hosts of every kind: each environment in them is a configuration that the sidecar starts with,
 * and ports, images, times and names agree within a folder and with the program.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { MESH_KEY } from '../support/generators/config-input.ts';
import {
  compose,
  composeSidecars,
  configOf,
  containersOf,
  deployed,
  drainSeconds,
  filesUnder,
  HOST_FILE,
  hostEnv,
  IMAGE,
  kustomization,
  MESH_FILE,
  podOwners,
  ROOT,
  seconds,
  text,
  UNITS,
  unitDeployed,
  unitValues,
} from '../support/host/deployments.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

describe('the environments in deploy/', () => {
  test.each(deployed.map((one) => [one.where, one] as const))(
    '%s is a configuration that the program takes',
    (_, one) => {
      const config = configOf(one);
      const offers = one.command === 'run';
      expectNamed(config.services.length > 0, 'whether it offers something').toBe(offers);
      expectNamed(config.dht.listen.port, 'the DHT port of a bootstrap node').toBe(offers ? 0 : 49737);
    },
  );

  test('a variable that the configuration does not know is found in each of them', () => {
    for (const one of deployed) {
      const wrong = { ...one, env: { ...one.env, SIDECAR_OUTBUOND: '127.0.0.1:8010' } };
      expectNamed(() => configOf(wrong), one.where).toThrow(/SIDECAR_OUTBUOND/);
    }
  });

  test('hosts of a fleet have certificates: the mesh key is in none of them', () => {
    const fleet = deployed.filter(({ where }) => !where.startsWith(MESH_FILE));
    expect(fleet.length).toBeGreaterThan(5);
    for (const { env, where } of fleet) {
      expectNamed(
        Object.keys(env).filter((name) => name.includes('MESH_KEY')),
        where,
      ).toStrictEqual([]);
      expectNamed(env.SIDECAR_CERT_FILE, where).toBeTruthy();
    }
  });

  test('they say which bootstrap nodes there are, and those listen there', () => {
    const nodes = deployed.filter(({ command }) => command === 'bootstrap');
    expect(nodes).toHaveLength(4);
    for (const one of deployed) {
      if (one.where.startsWith(MESH_FILE) && one.command === 'bootstrap') continue;
      for (const { host, port } of configOf(one).dht.bootstrap) {
        expectNamed(port, `${one.where}: ${host}`).toBe(49737);
        if (/^[\d.]+$/.test(host)) continue;
        const owner = podOwners.find(({ name }) => host.startsWith(`${name}-`));
        mustHold(owner, `${one.where}: nobody is called ${host}`);
        const names = Array.from(
          { length: owner.replicas },
          (_, at) => `${owner.name}-${at}.${owner.serviceName}`,
        );
        expect(names).toContain(host);
      }
    }
    const byAddress = nodes.map((one) => configOf(one)).filter(({ dht }) => dht.bootstrap.length === 0);
    expect(byAddress.map(({ dht }) => `${dht.listen.host}:${dht.listen.port}`)).toStrictEqual([
      '10.42.0.2:49737',
    ]);
  });

  test('who stops a sidecar gives it the time to drain', () => {
    const longest = Math.max(
      ...deployed.filter(({ command }) => command === 'run').map((one) => drainSeconds(configOf(one))),
    );
    expect(longest).toBeGreaterThan(100);
    for (const path of [MESH_FILE, HOST_FILE]) {
      for (const [name, { image, stop_grace_period = '' }] of Object.entries(compose(path).services)) {
        if (image === IMAGE) expectNamed(seconds(stop_grace_period), name).toBeGreaterThan(longest);
      }
    }
    expect(Number(unitValues('dht-sidecar', 'TimeoutStopSec')[0])).toBeGreaterThan(longest);
    for (const owner of podOwners.filter(({ spec }) => spec.initContainers !== undefined)) {
      expectNamed(owner.spec.terminationGracePeriodSeconds, owner.name).toBeGreaterThan(longest);
    }
  });
});

describe('images and links in deploy/', () => {
  test('an image that stands in several files has the same version in all, and ours the one name', () => {
    const versions = new Map<string, Set<string>>();
    const named = [
      ...[MESH_FILE, HOST_FILE].flatMap((path) => Object.values(compose(path).services)),
      ...podOwners.flatMap(({ spec }) => containersOf(spec)),
    ].map(({ image }) => image);
    expect(named.filter((image) => image === IMAGE).length).toBeGreaterThan(5);
    for (const image of named) {
      const [name = '', version = 'built here'] = image.split(':');
      versions.set(name, (versions.get(name) ?? new Set()).add(version));
    }
    for (const [name, found] of versions) expectNamed([...found], name).toHaveLength(1);
    expect([...(versions.get(IMAGE) ?? [])]).toStrictEqual(['built here']);
  });

  test('the image in Kubernetes has the version of the package', () => {
    const { version } = JSON.parse(text('package.json')) as { version: string };
    expect(kustomization.images).toMatchObject([{ name: IMAGE, newTag: version }]);
  });

  test('the image exposes the default ports', () => {
    const { outbound, inbound, admin } = configOf({
      where: 'defaults',
      command: 'run',
      env: { SIDECAR_MESH_KEY: MESH_KEY },
    });
    const ports = [outbound.listen[0]?.port, inbound.listen.port, admin.listen.port];
    expect(/^EXPOSE (.*)$/m.exec(text('Dockerfile'))?.[1]).toBe(ports.join(' '));
  });

  test('links between the READMEs, and from the one of the project, lead to files that are there', () => {
    const readmes = filesUnder('deploy').filter((path) => path.endsWith('README.md'));
    expect(readmes).toHaveLength(5);
    for (const path of readmes) {
      expectNamed(text('README.md'), 'the README of the project').toContain(`(${path})`);
      for (const [, link = ''] of text(path).matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        expectNamed(existsSync(join(ROOT, dirname(path), link)), `${path}: ${link}`).toBe(true);
      }
    }
  });
});

describe('deploy/compose', () => {
  test('the mesh on one host: workers, app and Prometheus ask the ports that are listened on', () => {
    const { services } = compose(MESH_FILE);
    const configs = new Map(
      composeSidecars(MESH_FILE, {}).map((one) => [one.where.split(': ')[1] ?? '', configOf(one)]),
    );
    const app = new URL(services.app?.environment?.SIDECAR_URL ?? '');
    expect(configs.get(app.hostname)?.outbound.listen.map(({ port }) => String(port))).toContain(app.port);
    const targets = [...text('deploy/compose/prometheus.yml').matchAll(/url: (\S+)/g)].map(
      ([, url = '']) => new URL(url),
    );
    expect(targets).toHaveLength(2);
    for (const { hostname, port, pathname } of targets) {
      expectNamed(String(configs.get(hostname)?.admin.listen.port), hostname).toBe(port);
      expect(pathname).toBe('/targets');
    }
    for (const { services: offered } of configs.values()) {
      for (const { host, port } of offered.flatMap(({ urls }) => urls)) {
        expectNamed(services[host]?.command?.join(' '), host).toBe('node /app/worker.mjs');
        expect(text('deploy/compose/worker.mjs')).toContain(String(port));
      }
    }
  });

  test.each([MESH_FILE, HOST_FILE])('%s: secrets and volumes that are used are declared', (path) => {
    const { services, secrets, volumes } = compose(path);
    for (const [name, { secrets: used = [], volumes: mounts = [] }] of Object.entries(services)) {
      for (const secret of used) expectNamed(Object.keys(secrets), name).toContain(secret);
      for (const mount of mounts) {
        const [source = ''] = mount.split(':');
        if (!source.startsWith('.')) expectNamed(Object.keys(volumes), name).toContain(source);
      }
    }
    for (const { env, where } of composeSidecars(path, {})) {
      const used = services[where.split(': ')[1] ?? '']?.secrets ?? [];
      for (const file of Object.values(env).filter((value) => value.startsWith('/run/secrets/')))
        expectNamed(used, where).toContain(file.slice('/run/secrets/'.length));
    }
  });

  test('a host of the fleet: each part is a profile of its own, and needs no other to be there', () => {
    const { services } = compose(HOST_FILE);
    const profiles = Object.values(services).flatMap(({ profiles: own = [] }) => own);
    expect(profiles).toHaveLength(Object.keys(services).length);
    expect(new Set(profiles).size).toBe(profiles.length);
    for (const profile of hostEnv.COMPOSE_PROFILES?.split(',') ?? []) expect(profiles).toContain(profile);
    for (const [name, { depends_on = {} }] of Object.entries(services)) {
      for (const [other, { required }] of Object.entries(depends_on))
        expectNamed(required, `${name} on ${other}`).toBe(false);
    }
    for (const profile of profiles)
      expectNamed(text('deploy/compose/host/README.md'), profile).toContain(`\`${profile}\``);
  });

  test('a host of the fleet: worker, tunnel and sidecar mean the same ports', () => {
    const { services } = compose(HOST_FILE);
    const [sidecar] = composeSidecars(HOST_FILE, hostEnv);
    mustHold(sidecar);
    const worker = services.worker?.command ?? [];
    const port = worker[worker.indexOf('--port') + 1];
    expect(
      configOf(sidecar).services.flatMap(({ urls }) => urls.map((url) => String(url.port))),
    ).toStrictEqual([port]);
    expect(services.worker?.ports).toStrictEqual([`127.0.0.1:${port}:${port}`]);

    const byTunnel = deployed.find(({ where }) => where.endsWith('by tunnel'));
    mustHold(byTunnel);
    const { tunnel, inbound } = configOf(byTunnel);
    for (const name of ['cloudflared', 'cloudflared-named']) {
      const command = services[name]?.command ?? [];
      expectNamed(`http://${command[command.indexOf('--metrics') + 1]}`, name).toBe(
        tunnel.cloudflaredMetrics,
      );
    }
    const origin = `http://${inbound.listen.host}:${inbound.listen.port}`;
    expect(services.cloudflared?.command).toContain(`\${TUNNEL_ORIGIN:-${origin}}`);
    expect(byTunnel.env.TUNNEL_ORIGIN).toBe(origin);
  });
});

describe('deploy/systemd', () => {
  test.each(UNITS)('%s runs as its own user, with no capability, and writes to its state alone', (unit) => {
    for (const [key, value] of [
      ['User', 'dht-sidecar'],
      ['CapabilityBoundingSet', ''],
      ['NoNewPrivileges', 'yes'],
      ['ProtectSystem', 'strict'],
      ['ProtectHome', 'yes'],
      ['RestartPreventExitStatus', '64'],
    ] as const) {
      expectNamed(unitValues(unit, key), key).toStrictEqual([value]);
    }
    const [folder] = unitValues(unit, 'StateDirectory');
    expect(unitDeployed(unit).env.SIDECAR_STATE_DIR).toBe(`/var/lib/${folder}`);
    expect(unitValues(unit, 'ReadWritePaths')).toStrictEqual([]);
    // V8 could not compile.
    expect(unitValues(unit, 'MemoryDenyWriteExecute')).toStrictEqual([]);
    expect(text('deploy/systemd/dht-sidecar.sysusers.conf')).toMatch(/^u dht-sidecar /m);
  });
});

describe('deploy/nebula', () => {
  interface Rule {
    readonly port: number | string;
    readonly proto: string;
    readonly group?: string;
  }
  const inbound = (file: string): readonly Rule[] =>
    (parse(text(`deploy/nebula/${file}`)) as { firewall: { inbound: Rule[] } }).firewall.inbound;

  test('the firewall lets through what a sidecar and a bootstrap node listen on', () => {
    const sidecar = configOf(unitDeployed('dht-sidecar'));
    const rules = inbound('host.yml');
    expect(rules).toContainEqual({ port: sidecar.inbound.listen.port, proto: 'tcp', host: 'any' });
    expect(rules).toContainEqual({ port: sidecar.admin.listen.port, proto: 'tcp', group: 'monitoring' });
    expect(rules).toContainEqual({ port: 'any', proto: 'udp', host: 'any' });
    const { dht } = configOf(unitDeployed('dht-bootstrap'));
    expect(inbound('lighthouse.yml')).toContainEqual({ port: dht.listen.port, proto: 'udp', host: 'any' });
  });
});
