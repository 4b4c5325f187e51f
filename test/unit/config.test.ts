/** The configuration: precedence, defaults, and every mistake in plain words at once. */
import { describe, expect, test } from '@jest/globals';
import type { Config } from '../../sidecar/config/config.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { listOptions, type OptionTree } from '../../sidecar/config/option.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { SCHEMA } from '../../sidecar/config/schema.ts';
import { SERVICE_SCHEMA } from '../../sidecar/config/service-schema.ts';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { configInput, type MadeUp, MESH_KEY } from '../support/generators/config-input.ts';
import { caught, expectNamed, fail, mustHold } from '../support/runner/expectations.ts';

const KEY = { SIDECAR_MESH_KEY: MESH_KEY };

function load(made: MadeUp): Config {
  return loadConfig(configInput(made)).config;
}

/** With the mesh key set. */
function loadEnv(env: Record<string, string>, made: MadeUp = {}): Config {
  return load({ ...made, env: { ...KEY, ...env } });
}

function problemsOf(made: MadeUp): readonly string[] {
  try {
    loadConfig(configInput(made));
  } catch (error) {
    mustHold(isConfigError(error), String(error));
    return error.problems;
  }
  return fail('expected mistakes');
}

describe('the configuration', () => {
  test('with a mesh key alone everything has a default', () => {
    const config = loadEnv({});
    expect(config.worker.id).toBe('box');
    expect(config.worker.capabilities).toMatchObject({ has_gpu: false, worker_type: 'cpu' });
    expect(config.outbound).toStrictEqual({
      listen: [{ host: '127.0.0.1', port: 8010 }],
      token: null,
      tokens: new Map(),
      hosts: new Set(),
      origins: { any: false, loopback: true, listed: new Set() },
    });
    expect(config.inbound.listen).toStrictEqual({ host: '127.0.0.1', port: 8000 });
    expect(config.admin.listen).toStrictEqual({ host: '127.0.0.1', port: 9464 });
    expect(config.admin.hosts).toStrictEqual(new Set());
    expect(config.vpn.ip).toBe(null);
    expect(config.dht).toStrictEqual({
      bootstrap: [],
      listen: { host: '0.0.0.0', port: 0 },
      isAtVpn: true,
      announceIntervalMs: 60_000,
      maxAgeMs: 180_000,
    });
    expect(config.cache).toStrictEqual({ ttlMs: 60_000, firstLookupWaitMs: 3000 });
    expect(config.retries).toStrictEqual({ budgetRatio: 0.2, perSecond: 10, replayBytes: 65_536 });
    expect(config.limits).toStrictEqual({
      maxHeadBytes: 65_536,
      maxFields: 200,
      maxTargetBytes: 16_384,
      headTimeoutMs: 10_000,
    });
    expect(config.drain).toStrictEqual({ acceptMs: 2000, waitMs: 120_000, quietMs: 5000 });
    expect(config.calls.default.timeouts).toStrictEqual({
      vpnConnectMs: 1000,
      tunnelConnectMs: 3000,
      workerConnectMs: 1000,
      headMs: 600_000,
      idleMs: 300_000,
    });
    expect(config.balance.policy).toBe('adaptive');
    expect(Buffer.from(config.mesh.key ?? []).toString('hex')).toBe(MESH_KEY);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.cache)).toBe(true);
  });

  test('every default is a value that its own parser takes, and no two options share a variable', () => {
    const variables = new Set<string>();
    for (const tree of [SCHEMA, SERVICE_SCHEMA] as OptionTree[]) {
      for (const [key, leaf] of listOptions(tree)) {
        if (leaf.default !== null) expectNamed(() => leaf.parse(leaf.default), key).not.toThrow();
        expectNamed(leaf.doc.length, key).toBeGreaterThan(0);
        if (leaf.env === null) continue;
        expect(leaf.env).toMatch(/^SIDECAR_[A-Z_]+$/);
        expectNamed(variables.has(leaf.env), leaf.env).toBe(false);
        variables.add(leaf.env);
      }
    }
  });

  test('an argument goes before the environment, that before the file', () => {
    const files = { 'c.yaml': 'cache: { ttl: 10s, firstLookupWait: 1s }\nbalance:\n  policy: rank\n' };
    const args = ['--config', 'c.yaml', '--policy', 'random'];
    const config = loadEnv({ SIDECAR_POLICY: 'p2c', SIDECAR_CACHE_TTL: '20s' }, { files, args });
    expect(config.balance.policy).toBe('random');
    expect(config.cache.ttlMs).toBe(20_000);
    expect(config.cache.firstLookupWaitMs).toBe(1000);
  });

  test('variables of a file with CRLF line ends mean what they say', () => {
    const config = loadEnv({
      SIDECAR_TRUST_FORWARDED: 'true\r',
      SIDECAR_LOG_LEVEL: 'debug\r',
      SIDECAR_CONCURRENCY: '4\r',
      SIDECAR_VPN_IP: 'none\r',
      SIDECAR_MESH_KEY: `${MESH_KEY}\r`,
      SIDECAR_SERVICES: 'llm=http://127.0.0.1:9000\r',
      SIDECAR_STATE_DIR: '\r',
      SIDECAR_UNKNOWN: '\r',
    });
    expect(config.trustForwarded).toBe(true);
    expect(config.log.level).toBe('debug');
    expect(config.services[0]?.concurrency).toBe(4);
    expect(config.vpn.ip).toBe(null);
    expect(config.state.dir).toBe(null);
    const files = { 'c.yaml': 'cache:\r\n  ttl: 10s\r\n', secret: `${MESH_KEY}\r\n` };
    const env = { SIDECAR_CONFIG: 'c.yaml\r', SIDECAR_MESH_KEY_FILE: 'secret\r' };
    expect(load({ files, env }).cache.ttlMs).toBe(10_000);
  });

  test('merge keys take over what an anchor holds, and keys that begin with x- are the own ones of the file', () => {
    const yaml = [
      'x-common: &common { concurrency: 3, timeouts: { head: 7s } }',
      'services:',
      '  one: { <<: *common, url: "http://127.0.0.1:9000" }',
      '  two: { <<: [*common, { queue: 5 }], url: "http://127.0.0.1:9001", concurrency: 4 }',
    ].join('\n');
    const { services } = loadEnv({ SIDECAR_CONFIG: 'c.yaml' }, { files: { 'c.yaml': yaml } });
    expect(services.map(({ concurrency, queue }) => [concurrency, queue])).toStrictEqual([
      [3, 32],
      [4, 5],
    ]);
    expect(services[1]?.timeouts.headMs).toBe(7000);
  });

  test.each([
    ['b: {<<: 3}', /^c\.yaml: line 1, column 9: /],
    ['a: 1\nb:\n  <<: [3]\n', /^c\.yaml: line 3, column 7: /],
    ['a: {<<: *none}', /^c\.yaml: line 1, column 9: /],
    ['a: &a {<<: *a}', /not valid YAML/],
  ])('a merge of what is no mapping is named with its place: %j', (content, named) => {
    expect(
      problemsOf({ env: { ...KEY, SIDECAR_CONFIG: 'c.yaml' }, files: { 'c.yaml': content } }),
    ).toContainEqual(expect.stringMatching(named));
  });

  test('JSON, --name=value, SIDECAR_CONFIG and an empty file are taken too', () => {
    const files = { 'c.json': '{"cache":{"ttl":"5m"}}', 'e.yaml': '# nothing\n' };
    expect(loadEnv({ SIDECAR_CONFIG: 'c.json' }, { files }).cache.ttlMs).toBe(300_000);
    expect(loadEnv({}, { files, args: ['--config=e.yaml', '--cache-ttl=7s'] }).cache.ttlMs).toBe(7000);
  });

  test('one socket may be asked by several names that begin like localhost, and each is shown', () => {
    const names = ['', ':localhost:8080', ':localhost.example', ':localhost.example/v1'];
    const pairs = names.map((name) => `llm=unix:/run/w.sock${name}`);
    const { services } = loadEnv({ SIDECAR_SERVICES: pairs.join(',') });
    expect(services[0]?.urls.map(({ url }) => url)).toStrictEqual(
      names.map((name) => `unix:/run/w.sock${name}`),
    );
  });

  test('services: the short form, and the file form with all keys', () => {
    const short = loadEnv({
      SIDECAR_SERVICES: 'llm-inference=http://127.0.0.1:9000, notes-coa=http://worker:9001/base/',
      SIDECAR_CONCURRENCY: 'llm-inference=4',
      SIDECAR_QUEUE: '7',
      SIDECAR_HEALTH: '/health',
    });
    const [llm, notes] = short.services;
    const [at] = llm?.urls ?? [];
    expect([llm?.name, at?.host, at?.port, at?.basePath, llm?.concurrency]).toStrictEqual([
      'llm-inference',
      '127.0.0.1',
      9000,
      '',
      4,
    ]);
    const [place] = notes?.urls ?? [];
    expect([place?.host, place?.port, place?.basePath, place?.url, notes?.concurrency]).toStrictEqual([
      'worker',
      9001,
      '/base',
      'http://worker:9001/base',
      null,
    ]);
    expect([llm?.queue, notes?.health.ask]).toStrictEqual([7, { kind: 'get', path: '/health' }]);

    const file = `
services:
  llm.v2:
    url: http://[::1]:9000/v1
    concurrency: 2
    queue: 0
    aliases: [llm]
    health: { path: none, interval: 500ms }
    timeouts: { head: 1h }
    retryPost: true
    warmingLimit: 20m
    load: { source: worker, metricsUrl: "http://[::1]:9000/metrics" }
calls:
  far-away: { timeouts: { idle: 1m } }
aliases: { far: far-away }
`;
    const config = loadEnv(
      { SIDECAR_CONCURRENCY: '9', SIDECAR_HEALTH: '/h' },
      { files: { 'c.yml': file }, args: ['--config', 'c.yml'] },
    );
    const service = config.services[0];
    expect([service?.name, service?.urls[0]?.host, service?.concurrency, service?.queue]).toStrictEqual([
      'llm.v2',
      '::1',
      2,
      0,
    ]);
    expect([service?.health.ask.kind, service?.health.intervalMs, service?.warmingLimitMs]).toStrictEqual([
      'connect',
      500,
      1_200_000,
    ]);
    expect([service?.timeouts.headMs, service?.timeouts.idleMs, service?.retryPost]).toStrictEqual([
      3_600_000,
      300_000,
      true,
    ]);
    expect(config.calls.byService.get('llm.v2')?.retryPost).toBe(true);
    expect(config.calls.byService.get('far-away')?.timeouts.idleMs).toBe(60_000);
    expect([...config.aliases].sort()).toStrictEqual([
      ['far', 'far-away'],
      ['llm', 'llm.v2'],
    ]);
  });

  test('the Host that a worker is sent is its own, the one of the app, or a name', () => {
    const sent = (host: string): unknown => {
      const file = `services: { a: { url: "http://x:1", host: ${JSON.stringify(host)} } }`;
      return loadEnv({}, { files: { 'c.yml': file }, args: ['--config', 'c.yml'] }).services[0]?.sentHost;
    };
    expect(loadEnv({ SIDECAR_SERVICES: 'a=http://x' }).services[0]?.sentHost).toStrictEqual({
      kind: 'worker',
    });
    expect(sent('worker')).toStrictEqual({ kind: 'worker' });
    expect(sent('keep')).toStrictEqual({ kind: 'keep' });
    for (const name of ['jupyter.example', 'a:8080', '[::1]:80', '10.0.0.1'])
      expect(sent(name)).toStrictEqual({ kind: 'name', name });
    for (const bad of ['a b', 'http://a', 'a/b', 'u@a', 'a:99999', 'a\r\nX: y', '', 'a'.repeat(300)])
      expectNamed(() => sent(bad), bad).toThrow(/services\.a\.host|host/);
  });

  test('apps may call at several addresses', () => {
    const wanted = [
      { host: '127.0.0.1', port: 8010 },
      { host: '::1', port: 8010 },
      { host: '127.0.0.1', port: 9000 },
      { host: 'localhost', port: 7000 },
    ];
    const text = '127.0.0.1:8010, [::1]:8010, 9000, localhost:7000';
    expect(loadEnv({ SIDECAR_OUTBOUND: text }).outbound.listen).toStrictEqual(wanted);
    for (const listen of ['["127.0.0.1:8010", "[::1]:8010", 9000, "localhost:7000"]', `"${text}"`]) {
      const files = { 'c.yml': `outbound: { listen: ${listen} }` };
      expect(loadEnv({}, { files, args: ['--config', 'c.yml'] }).outbound.listen).toStrictEqual(wanted);
    }
    const files = { 'c.yml': 'outbound: { listen: 9000 }' };
    expect(loadEnv({}, { files, args: ['--config', 'c.yml'] }).outbound.listen).toStrictEqual([wanted[2]]);
  });

  test('apps have tokens by name, from the environment, a file of secrets or the configuration', () => {
    const wanted = [
      ['chat', 'a-token-of-chat-1'],
      ['notes', 'a-token=of=notes-2'],
    ];
    const text = 'chat=a-token-of-chat-1,notes=a-token=of=notes-2';
    expect([...loadEnv({ SIDECAR_OUTBOUND_TOKENS: text }).outbound.tokens]).toStrictEqual(wanted);
    const secrets = { files: { '/tokens': text.replace(',', '\r\n') } };
    expect([...loadEnv({ SIDECAR_OUTBOUND_TOKENS_FILE: '/tokens' }, secrets).outbound.tokens]).toStrictEqual(
      wanted,
    );
    const file = 'outbound: { tokens: { chat: a-token-of-chat-1, notes: "a-token=of=notes-2" } }';
    const written = { files: { 'c.yml': file }, args: ['--config', 'c.yml'] };
    expect([...loadEnv({}, written).outbound.tokens]).toStrictEqual(wanted);
    const wide = { SIDECAR_OUTBOUND: '0.0.0.0:8010', SIDECAR_OUTBOUND_TOKENS: text };
    expectNamed(loadEnv(wide).outbound.token, 'one of them is enough').toBe(null);
    expectNamed(
      problemsOf({ env: KEY, args: ['--outbound-tokens', text] }),
      'not as an argument',
    ).toHaveLength(1);
  });

  test('what a worker refuses goes to another one, unless it is switched off: for all, or for a service', () => {
    const file = `
services: { own: { url: "http://127.0.0.1:9000", retryRefused: true } }
calls: { far: { retryRefused: false }, other: {} }
retries: { post: [posted] }
`;
    const refusedOf = (env: Readonly<Record<string, string>>): unknown[] => {
      const { calls } = loadEnv(env, { files: { 'c.yml': file }, args: ['--config', 'c.yml'] });
      const named = ['own', 'far', 'other', 'posted'].map((name) => calls.byService.get(name)?.retryRefused);
      return [calls.default.retryRefused, ...named];
    };
    expect(refusedOf({})).toStrictEqual([true, true, false, true, true]);
    expect(refusedOf({ SIDECAR_RETRY_REFUSED: 'false' })).toStrictEqual([false, true, false, false, false]);
  });

  test('the VPN address is found inside the network, and decides listeners', () => {
    const addresses = ['127.0.0.1', '10.42.3.4', '10.42.3.5'];
    const config = loadEnv({}, { addresses });
    expect(config.vpn.ip).toBe('10.42.3.4');
    expect(config.inbound.listen).toStrictEqual({ host: '10.42.3.4', port: 8000 });
    expect(config.dht.listen).toStrictEqual({ host: '10.42.3.4', port: 0 });
    expect(loadEnv({ SIDECAR_VPN_IP: 'none' }, { addresses }).vpn.ip).toBe(null);
    expect(loadEnv({ SIDECAR_INBOUND: ':9000' }, { addresses }).inbound.listen).toStrictEqual({
      host: '10.42.3.4',
      port: 9000,
    });
    expect(loadEnv({ SIDECAR_VPN_CIDR: '192.168.0.0/16' }, { addresses }).vpn.ip).toBe(null);
    const given = loadEnv({ SIDECAR_VPN_IP: '127.0.0.9' });
    expect(given.warnings.join()).toMatch(/outside of the VPN network/);
  });

  test('capabilities are detected or given', () => {
    const machine = { cpu_cores: 8, memory_gb: 16, arch: 'x64' };
    expect(loadEnv({}, { gpu: 'RTX 4090' }).worker.capabilities).toStrictEqual({
      has_gpu: true,
      gpu_count: 1,
      gpu_type: 'RTX 4090',
      worker_type: 'gpu',
      ...machine,
    });
    const given = loadEnv({ SIDECAR_CAPABILITIES: 'has_gpu=true,gpu_type=RTX 4090,vram_gb=24' });
    const own = { has_gpu: true, gpu_type: 'RTX 4090', vram_gb: 24 };
    expect(given.worker.capabilities).toStrictEqual({ ...own, worker_type: 'cpu', ...machine });
  });

  test('own capabilities leave room for what is detected, or none', () => {
    const own = (count: number) => Array.from({ length: count }, (_, n) => `c${n}=1`).join(',');
    for (const [count, names] of [
      [31, ['has_gpu']],
      [32, []],
    ] as const) {
      const { capabilities } = loadEnv({ SIDECAR_CAPABILITIES: own(count) }).worker;
      expect(Object.keys(capabilities)).toHaveLength(32);
      expect(Object.keys(capabilities).filter((name) => !/^c\d/.test(name))).toStrictEqual(names);
    }
  });

  test('secrets come from files, and only one way', () => {
    const files = { '/run/key': ` ${MESH_KEY}\n`, '/run/empty': '\n' };
    const byEnv = load({ env: { SIDECAR_MESH_KEY_FILE: '/run/key' }, files });
    const byArgument = load({ args: ['--mesh-key-file', '/run/key'], files });
    for (const config of [byEnv, byArgument])
      expect(Buffer.from(config.mesh.key ?? []).toString('hex')).toBe(MESH_KEY);
    expect(problemsOf({ env: { ...KEY, SIDECAR_MESH_KEY_FILE: '/run/key' }, files }).join()).toMatch(
      /keep one of the two/,
    );
    expect(problemsOf({ env: { SIDECAR_MESH_KEY_FILE: '/run/empty' }, files }).join()).toMatch(
      /the file is empty/,
    );
    expect(problemsOf({ args: ['--mesh-key', MESH_KEY] }).join()).toMatch(/use --mesh-key-file/);
  });

  test('a certificate gives the name, and is checked before the start', () => {
    const secrets = fromMeshKey(Buffer.from(MESH_KEY, 'hex'));
    const request = { workerId: 'gpu-7', offers: ['a'], calls: ['*'], days: 30, nowSeconds: 1_750_000_000 };
    const cert = createBundle(secrets, request);
    const services = 'a=http://127.0.0.1:1';
    expect(load({ env: { SIDECAR_CERT: cert, SIDECAR_SERVICES: services } }).worker.id).toBe('gpu-7');
    const wrong = (env: Record<string, string>) =>
      problemsOf({ env: { SIDECAR_CERT: cert, ...env } }).join('\n');
    expect(wrong({ SIDECAR_SERVICES: 'b=http://127.0.0.1:1' })).toMatch(/does not allow it to offer b/);
    expect(wrong({ SIDECAR_WORKER_ID: 'other' })).toMatch(/cannot be used by worker other/);
    expect(wrong({ SIDECAR_MESH_KEY: MESH_KEY })).toMatch(/keep one of the two/);
    const expired = createBundle(secrets, { ...request, nowSeconds: 1_700_000_000 });
    expect(wrong({ SIDECAR_CERT: expired })).toMatch(/SIDECAR_CERT: .* ended at/);
    expect(wrong({ SIDECAR_CERT: `${cert.slice(0, 90)}${cert.slice(91)}` })).toMatch(/damaged/);
  });

  test('a bootstrap node wants an address of its own and has a port of its own', () => {
    const at = (made: MadeUp) =>
      loadConfig(configInput({ ...made, env: { ...KEY, ...made.env } }), 'bootstrap').config;
    expect(at({ addresses: ['10.42.0.1'] }).dht.listen).toStrictEqual({ host: '10.42.0.1', port: 49737 });
    expect(at({ env: { SIDECAR_DHT_LISTEN: '127.0.0.1:0' } }).dht.listen).toStrictEqual({
      host: '127.0.0.1',
      port: 0,
    });
    expect(isConfigError(caught(() => at({})))).toBe(true);
  });

  test('sources of load: the page of a worker and what counts on it, and that of the GPUs', () => {
    const yaml = (load: string) => ({
      files: { '/c.yaml': `services:\n  infer:\n    url: http://127.0.0.1:9000\n    load: ${load}\n` },
      args: ['--config', '/c.yaml'],
    });
    const page = 'metricsUrl: http://127.0.0.1:9000/metrics';
    const vllm = loadEnv({}, yaml(`{${page}}`)).services[0]?.load;
    expect(vllm).toStrictEqual({
      source: 'auto',
      metricsUrl: 'http://127.0.0.1:9000/metrics',
      metrics: null,
      intervalMs: 1000,
    });
    const named = loadEnv({}, yaml(`{${page}, metrics: {"app:queue": 40, busy_ratio: 0.9}}`));
    expect([...(named.services[0]?.load.metrics ?? [])]).toStrictEqual([
      ['app:queue', 40],
      ['busy_ratio', 0.9],
    ]);
    const problemOf = (load: string) => problemsOf({ env: KEY, ...yaml(load) }).join('\n');
    expect(problemOf('{metrics: {queue: 4}}')).toMatch(/load\.metrics.* needs load\.metricsUrl/);
    expect(problemOf(`{${page}, metrics: {queue: 0}}`)).toMatch(/limit of queue is 0/);
    expect(problemOf(`{${page}, metrics: {"a b": 1}}`)).toMatch(/not the name of a metric/);
    expect(problemOf(`{${page}, metrics: {queue: many}}`)).toMatch(/"many" is not a number/);
    expect(loadEnv({}).gpu).toStrictEqual({ metricsUrl: null, devices: null });
    expect(
      loadEnv({ SIDECAR_GPU_METRICS: 'http://127.0.0.1:9400/metrics', SIDECAR_GPU_DEVICES: '0,GPU-1' }).gpu,
    ).toStrictEqual({ metricsUrl: 'http://127.0.0.1:9400/metrics', devices: ['0', 'GPU-1'] });
  });
});
