/** The configuration: precedence, defaults, and every mistake in plain words at once. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Config } from '../../sidecar/config/config.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { listOptions, type OptionTree } from '../../sidecar/config/option.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { SCHEMA } from '../../sidecar/config/schema.ts';
import { SERVICE_SCHEMA } from '../../sidecar/config/service-schema.ts';
import { decodeRecord, RECORD_LIMITS } from '../../sidecar/core/peers/record.ts';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { configInput, type MadeUp, MESH_KEY } from '../support/config-input.ts';

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
    assert.ok(isConfigError(error), String(error));
    return error.problems;
  }
  return assert.fail('expected mistakes');
}

test('with a mesh key alone everything has a default', () => {
  const config = loadEnv({});
  assert.equal(config.worker.id, 'box');
  assert.deepEqual(config.worker.capabilities, { has_gpu: false, worker_type: 'cpu' });
  assert.deepEqual(config.outbound, { listen: { host: '127.0.0.1', port: 8010 }, token: null });
  assert.deepEqual(config.inbound.listen, { host: '127.0.0.1', port: 8000 });
  assert.deepEqual(config.admin.listen, { host: '127.0.0.1', port: 9464 });
  assert.equal(config.vpn.ip, null);
  assert.deepEqual(config.dht, {
    bootstrap: [],
    listen: { host: '0.0.0.0', port: 0 },
    announceIntervalMs: 60_000,
    maxAgeMs: 180_000,
  });
  assert.deepEqual(config.cache, { ttlMs: 60_000, firstLookupWaitMs: 3000 });
  assert.deepEqual(config.retries, { budgetRatio: 0.2, perSecond: 10, replayBytes: 65_536 });
  assert.deepEqual(config.limits, {
    maxHeadBytes: 65_536,
    maxFields: 200,
    maxTargetBytes: 16_384,
    headTimeoutMs: 10_000,
  });
  assert.deepEqual(config.drain, { acceptMs: 2000, waitMs: 120_000 });
  assert.deepEqual(config.calls.default.timeouts, {
    vpnConnectMs: 1000,
    tunnelConnectMs: 3000,
    workerConnectMs: 1000,
    headMs: 600_000,
    idleMs: 300_000,
  });
  assert.equal(config.balance.policy, 'adaptive');
  assert.equal(Buffer.from(config.mesh.key ?? []).toString('hex'), MESH_KEY);
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.cache));
});

test('every default is a value that its own parser takes, and no two options share a variable', () => {
  const variables = new Set<string>();
  for (const tree of [SCHEMA, SERVICE_SCHEMA] as OptionTree[]) {
    for (const [key, leaf] of listOptions(tree)) {
      if (leaf.default !== null) assert.doesNotThrow(() => leaf.parse(leaf.default), key);
      assert.ok(leaf.doc.length > 0, key);
      if (leaf.env === null) continue;
      assert.match(leaf.env, /^SIDECAR_[A-Z_]+$/);
      assert.ok(!variables.has(leaf.env), leaf.env);
      variables.add(leaf.env);
    }
  }
});

test('file < environment < arguments', () => {
  const files = { 'c.yaml': 'cache: { ttl: 10s, firstLookupWait: 1s }\nbalance:\n  policy: rank\n' };
  const args = ['--config', 'c.yaml', '--policy', 'random'];
  const config = loadEnv({ SIDECAR_POLICY: 'p2c', SIDECAR_CACHE_TTL: '20s' }, { files, args });
  assert.equal(config.balance.policy, 'random');
  assert.equal(config.cache.ttlMs, 20_000);
  assert.equal(config.cache.firstLookupWaitMs, 1000);
});

test('JSON, --name=value, SIDECAR_CONFIG and an empty file are taken too', () => {
  const files = { 'c.json': '{"cache":{"ttl":"5m"}}', 'e.yaml': '# nothing\n' };
  assert.equal(loadEnv({ SIDECAR_CONFIG: 'c.json' }, { files }).cache.ttlMs, 300_000);
  assert.equal(loadEnv({}, { files, args: ['--config=e.yaml', '--cache-ttl=7s'] }).cache.ttlMs, 7000);
});

test('services: the short form, and the file form with all keys', () => {
  const short = loadEnv({
    SIDECAR_SERVICES: 'llm-inference=http://127.0.0.1:9000, notes-coa=http://worker:9001/base/',
    SIDECAR_CONCURRENCY: 'llm-inference=4',
    SIDECAR_QUEUE: '7',
    SIDECAR_HEALTH: '/health',
  });
  const [llm, notes] = short.services;
  assert.deepEqual(
    [llm?.name, llm?.host, llm?.port, llm?.basePath, llm?.concurrency],
    ['llm-inference', '127.0.0.1', 9000, '', 4],
  );
  assert.deepEqual(
    [notes?.host, notes?.port, notes?.basePath, notes?.url, notes?.concurrency],
    ['worker', 9001, '/base', 'http://worker:9001/base', null],
  );
  assert.deepEqual([llm?.queue, notes?.health.path], [7, '/health']);

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
  assert.deepEqual(
    [service?.name, service?.host, service?.concurrency, service?.queue],
    ['llm.v2', '::1', 2, 0],
  );
  assert.deepEqual(
    [service?.health.path, service?.health.intervalMs, service?.warmingLimitMs],
    [null, 500, 1_200_000],
  );
  assert.deepEqual(
    [service?.timeouts.headMs, service?.timeouts.idleMs, service?.retryPost],
    [3_600_000, 300_000, true],
  );
  assert.equal(config.calls.byService.get('llm.v2')?.retryPost, true);
  assert.equal(config.calls.byService.get('far-away')?.timeouts.idleMs, 60_000);
  assert.deepEqual([...config.aliases].sort(), [
    ['far', 'far-away'],
    ['llm', 'llm.v2'],
  ]);
});

test('the VPN address is found inside the network, and decides listeners', () => {
  const addresses = ['127.0.0.1', '10.42.3.4', '10.42.3.5'];
  const config = loadEnv({}, { addresses });
  assert.equal(config.vpn.ip, '10.42.3.4');
  assert.deepEqual(config.inbound.listen, { host: '10.42.3.4', port: 8000 });
  assert.deepEqual(config.dht.listen, { host: '10.42.3.4', port: 0 });
  assert.equal(loadEnv({ SIDECAR_VPN_IP: 'none' }, { addresses }).vpn.ip, null);
  assert.deepEqual(loadEnv({ SIDECAR_INBOUND: ':9000' }, { addresses }).inbound.listen, {
    host: '10.42.3.4',
    port: 9000,
  });
  assert.equal(loadEnv({ SIDECAR_VPN_CIDR: '192.168.0.0/16' }, { addresses }).vpn.ip, null);
  const given = loadEnv({ SIDECAR_VPN_IP: '127.0.0.9' });
  assert.match(given.warnings.join(), /outside of the VPN network/);
});

test('capabilities are detected or given', () => {
  assert.deepEqual(loadEnv({}, { gpu: 'RTX 4090' }).worker.capabilities, {
    has_gpu: true,
    gpu_type: 'RTX 4090',
    worker_type: 'gpu',
  });
  const given = loadEnv({ SIDECAR_CAPABILITIES: 'has_gpu=true,gpu_type=RTX 4090,vram_gb=24' });
  assert.deepEqual(given.worker.capabilities, { has_gpu: true, gpu_type: 'RTX 4090', vram_gb: 24 });
});

test('secrets come from files, and only one way', () => {
  const files = { '/run/key': ` ${MESH_KEY}\n`, '/run/empty': '\n' };
  const byEnv = load({ env: { SIDECAR_MESH_KEY_FILE: '/run/key' }, files });
  const byArgument = load({ args: ['--mesh-key-file', '/run/key'], files });
  for (const config of [byEnv, byArgument])
    assert.equal(Buffer.from(config.mesh.key ?? []).toString('hex'), MESH_KEY);
  assert.match(
    problemsOf({ env: { ...KEY, SIDECAR_MESH_KEY_FILE: '/run/key' }, files }).join(),
    /keep one of the two/,
  );
  assert.match(
    problemsOf({ env: { SIDECAR_MESH_KEY_FILE: '/run/empty' }, files }).join(),
    /the file is empty/,
  );
  assert.match(problemsOf({ args: ['--mesh-key', MESH_KEY] }).join(), /use --mesh-key-file/);
});

test('a certificate gives the name, and is checked before the start', () => {
  const secrets = fromMeshKey(Buffer.from(MESH_KEY, 'hex'));
  const request = { workerId: 'gpu-7', offers: ['a'], calls: ['*'], days: 30, nowSeconds: 1_750_000_000 };
  const cert = createBundle(secrets, request);
  const services = 'a=http://127.0.0.1:1';
  assert.equal(load({ env: { SIDECAR_CERT: cert, SIDECAR_SERVICES: services } }).worker.id, 'gpu-7');
  const wrong = (env: Record<string, string>) =>
    problemsOf({ env: { SIDECAR_CERT: cert, ...env } }).join('\n');
  assert.match(wrong({ SIDECAR_SERVICES: 'b=http://127.0.0.1:1' }), /does not allow it to offer b/);
  assert.match(wrong({ SIDECAR_WORKER_ID: 'other' }), /cannot be used by worker other/);
  assert.match(wrong({ SIDECAR_MESH_KEY: MESH_KEY }), /keep one of the two/);
  const expired = createBundle(secrets, { ...request, nowSeconds: 1_700_000_000 });
  assert.match(wrong({ SIDECAR_CERT: expired }), /SIDECAR_CERT: .* ended at/);
  assert.match(wrong({ SIDECAR_CERT: `${cert.slice(0, 90)}${cert.slice(91)}` }), /damaged/);
});

test('all mistakes are told at once, each with its place', () => {
  const problems = problemsOf({
    args: ['--config', 'c.yaml', '--outbund', 'x', '--policy', 'adaptve'],
    env: {
      SIDECAR_CACHE_TLL: '60s',
      SIDECAR_RETRY_PER_SECOND: '12abc',
      SIDECAR_TRUST_FORWARDED: 'maybe',
      SIDECAR_OUTBOUND: '0.0.0.0:8010',
    },
    files: {
      'c.yaml': 'cach: 1\ncache:\n  ttl: 60\n  tll: 5s\nservices:\n  a: { ulr: "http://x" }\n  B: http://x\n',
    },
  });
  const expected = [
    /^--outbund: unknown argument; did you mean --outbound\?$/,
    /^--policy: "adaptve" is not one of .*did you mean adaptive\?$/,
    /^SIDECAR_CACHE_TLL: unknown variable; did you mean SIDECAR_CACHE_TTL\?$/,
    /^SIDECAR_RETRY_PER_SECOND: "12abc" is not a whole number from 0 to 10000$/,
    /^SIDECAR_TRUST_FORWARDED: "maybe" is neither true nor false$/,
    /^SIDECAR_OUTBOUND: .* SIDECAR_OUTBOUND_TOKEN must be set$/,
    /^SIDECAR_MESH_KEY: is missing; /,
    /^cach in c\.yaml: unknown key; did you mean cache\?$/,
    /^cache\.ttl in c\.yaml: 60 has no unit; write 60s or 60ms$/,
    /^cache\.tll in c\.yaml: unknown key; did you mean cache\.ttl\?$/,
    /^services\.a\.ulr in c\.yaml: unknown key; did you mean url\?$/,
    /^services\.a\.url in c\.yaml: is missing: where does the worker listen\?$/,
    /^services in c\.yaml: "B" is not a service name/,
  ];
  for (const pattern of expected) {
    assert.ok(
      problems.some((problem) => pattern.test(problem)),
      `${pattern} in\n${problems.join('\n')}`,
    );
  }
  assert.equal(problems.length, expected.length, problems.join('\n'));
});

test('no secret is ever repeated', () => {
  const secret = 'hunter2hunter2hunter2';
  const tries: MadeUp[] = [
    { env: { SIDECAR_MESH_KEY: secret } },
    { env: { ...KEY, SIDECAR_OUTBOUND_TOKEN: `${secret}\u00e9` } },
    { env: { SIDECAR_CERT: secret } },
    { args: ['--mesh-key', secret] },
    { args: [`--mesh-key=${secret}`] },
    { args: ['--mesh-keyy', secret] },
    { env: { SIDECAR_MESH_KEYY: secret } },
    { env: { ...KEY, SIDECAR_TUNNEL_URL: `https://u:${secret}@host/` } },
    { env: { ...KEY, SIDECAR_SERVICES: `a=http://u:${secret}@host/` } },
    { env: { ...KEY, SIDECAR_SERVICES: `a=ftp://u:${secret}@host/` } },
    { args: ['--config', 'c.yaml'], files: { 'c.yaml': `mesh:\n  key: "${secret}\n  x: [` } },
    { args: ['--config', 'c.yaml'], files: { 'c.yaml': `mesh: { key: [${secret}] }` } },
    { args: ['--config', 'c.yaml'], files: { 'c.yaml': `mesh: { key: { ${secret}: 1 } }` } },
    { args: ['--config', 'c.json'], files: { 'c.json': `{"mesh": {"key": "${secret}" ` } },
    { env: { SIDECAR_MESH_KEY_FILE: '/k' }, files: { '/k': secret } },
    { env: { SIDECAR_MESH_KEY_FILE: secret } },
    { args: ['--mesh-key-file', secret] },
  ];
  for (const made of tries) assert.doesNotMatch(problemsOf(made).join('\n'), /hunter2/, JSON.stringify(made));
  const digits = {
    args: ['--config', 'c.yaml'],
    files: { 'c.yaml': 'outbound: { token: 1234567890123456 }' },
  };
  assert.doesNotMatch(problemsOf({ ...digits, env: KEY }).join(), /1234567/);
});

test('hostile and odd files are mistakes, not crashes', () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
    .split('')
    .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[at]}`).join(',')}]`)
    .join('\n')}`;
  const contents: [string, RegExp][] = [
    ['cache: 5', /cache in c\.yaml: expected a mapping of ttl/],
    ['cache: [1]', /expected a mapping/],
    ['cache: { ttl: { a: 1 } }', /cache\.ttl in c\.yaml: expected one value/],
    ['"cache.ttl": 5s', /cache\.ttl in c\.yaml: unknown key/],
    ['- a', /c\.yaml: expected a mapping/],
    ['__proto__: { x: 1 }', /__proto__ in c\.yaml: unknown key/],
    ['constructor: { prototype: { x: 1 } }', /constructor in c\.yaml: unknown key/],
    ['services: { __proto__: { url: "http://x" } }', /"__proto__" is not a service name/],
    [
      'services: { a: { constructor: 1, url: "http://x" } }',
      /services\.a\.constructor in c\.yaml: unknown key/,
    ],
    ['services: [a]', /expected a mapping/],
    ['services: { a: 5 }', /expected a mapping of url/],
    ['services: { a: { url: "http://x", health: 5 } }', /services\.a\.health/],
    ['a: 1\na: 2', /line 2.*not valid YAML/],
    ['a: !secret b', /not valid YAML/],
    ['[1]: 2', /not valid YAML|expected a mapping|unknown key/],
    [bomb, /./],
    ['\u0000', /./],
    ['{', /line 1.*not valid YAML/],
    ['---\na: 1\n---\nb: 2', /not valid YAML/],
    [`${'['.repeat(100_000)}`, /./],
  ];
  for (const [content, pattern] of contents) {
    const problems = problemsOf({ env: KEY, args: ['--config', 'c.yaml'], files: { 'c.yaml': content } });
    assert.match(problems.join('\n'), pattern, content.slice(0, 80));
    assert.doesNotMatch(problems.join('\n'), /cannot be read \(/);
  }
  assert.equal(({} as { x?: unknown }).x, undefined);
  for (const path of ['c.toml', 'nothing.yaml']) {
    assert.equal(problemsOf({ env: KEY, args: ['--config', path], files: { 'c.toml': 'a = 1' } }).length, 1);
  }
});

test('what must hold between options', () => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ SIDECAR_ADMIN: '127.0.0.1:8010' }, /127\.0\.0\.1:8010 is taken by outbound/],
    [{ SIDECAR_SERVICES: 'a=http://127.0.0.1:8010' }, /a points at this sidecar itself/],
    [{ SIDECAR_OUTBOUND_TOKEN: 'short' }, /shorter than 16/],
    [{ SIDECAR_TUNNEL_URL: 'http://example.com' }, /https/],
    // Others would refuse a record that says so.
    [{ SIDECAR_TUNNEL_URL: 'http://127.0.0.1:8000' }, /https/],
    [{ SIDECAR_TUNNEL_URL: 'https://example.com/?a=1' }, /no \? and no #/],
    [{ SIDECAR_DHT_MAX_AGE: '90s' }, /twice/],
    [{ SIDECAR_BOOTSTRAP: '49737' }, /not host:port of a node/],
    [{ SIDECAR_VPN_IP: '10.42.0.1', SIDECAR_DHT_LISTEN: '0.0.0.0:1' }, /the one address/],
    [{ SIDECAR_ALIASES: 'a=b,b=c' }, /an alias itself/],
    [{ SIDECAR_SERVICES: 'a=http://x', SIDECAR_ALIASES: 'a=b' }, /also the name of a service/],
    [{ SIDECAR_SERVICES: 'a=http://x', SIDECAR_CONCURRENCY: 'b=1' }, /b is not a service offered here/],
    [{ SIDECAR_SERVICES: 'a=https://x' }, /starts with http:\/\//],
    [{ SIDECAR_MESH_KEY: 'ab'.repeat(32) }, /not a random key/],
    [{ SIDECAR_TUNNEL_CA: '/nope' }, /no such file/],
  ];
  for (const [env, pattern] of cases) {
    const problems = problemsOf({ env: { ...KEY, ...env } });
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', pattern);
  }
  assert.match(problemsOf({ env: KEY, hostName: 'my box!' }).join(), /SIDECAR_WORKER_ID/);
});

test('what a record cannot say is refused: peers would refuse the record, and not say so', () => {
  const base = 'https://example.com/';
  const longest = `${base}${'a'.repeat(RECORD_LIMITS.tunnelUrlChars - base.length)}`;
  const services = (count: number, name: string) =>
    Array.from({ length: count }, (_, n) => `${name}${n}=http://127.0.0.1:9000`).join(',');
  const cases: [Record<string, string>, RegExp][] = [
    [{ SIDECAR_TUNNEL_URL: `${longest}a` }, /^SIDECAR_TUNNEL_URL: the URL has 513 .* 512 at most/],
    [{ SIDECAR_TUNNEL_URL: `${base}${'é'.repeat(100)}` }, /has 620 characters as it is advertised/],
    [{ SIDECAR_WORKER_ID: 'x'.repeat(129) }, /not a worker name \(1 to 128/],
    [{ SIDECAR_SERVICES: `${'a'.repeat(64)}=http://127.0.0.1:9000` }, /not a service name \(1 to 63/],
    [{ SIDECAR_SERVICES: services(65, 's') }, /more than 64 services/],
    [{ SIDECAR_CAPABILITIES: 'a=x\u202ey' }, /printable/],
    [{ SIDECAR_CAPABILITIES: 'a=x\u0085y' }, /printable/],
    [{ SIDECAR_CAPABILITIES: `a=${'x'.repeat(129)}` }, /128/],
    [{ SIDECAR_CAPABILITIES: `${'a'.repeat(64)}=1` }, /not a capability/],
    [{ SIDECAR_CAPABILITIES: Array.from({ length: 33 }, (_, n) => `c${n}=1`).join(',') }, /more than 32/],
    [{ SIDECAR_VPN_IP: '239.1.2.3' }, /^SIDECAR_VPN_IP: 239\.1\.2\.3 is not the address of a host/],
    [{ SIDECAR_VPN_IP: '255.255.255.255' }, /not the address of a host/],
  ];
  for (const [env, pattern] of cases) {
    const problems = problemsOf({ env: { ...KEY, ...env } });
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', pattern);
  }
  // The most that the configuration takes is a record that peers take.
  const {
    worker,
    tunnel,
    vpn,
    services: offered,
  } = loadEnv({
    SIDECAR_TUNNEL_URL: longest,
    SIDECAR_WORKER_ID: 'x'.repeat(128),
    SIDECAR_VPN_IP: '10.42.0.1',
    SIDECAR_SERVICES: services(64, 's'),
    SIDECAR_CAPABILITIES: Array.from({ length: 32 }, (_, n) => `c${n}=${'é'.repeat(128)}`).join(','),
  });
  const decoded = decodeRecord({
    worker_id: worker.id,
    vpn_ip: vpn.ip,
    tunnel_url: tunnel.url,
    services: offered.map(({ name }) => name),
    capabilities: worker.capabilities,
    load: 0,
    last_seen: 1_750_000_000,
    public_key: 'ab'.repeat(32),
    epoch: 1_750_000_000_000,
    seq: 1,
    state: 'ready',
    inbound_port: 8000,
    figures: {},
  });
  assert.equal(decoded.kind, 'ok', JSON.stringify(decoded));
});

test('a bootstrap node wants an address of its own and has a port of its own', () => {
  const at = (made: MadeUp) =>
    loadConfig(configInput({ ...made, env: { ...KEY, ...made.env } }), 'bootstrap').config;
  assert.deepEqual(at({ addresses: ['10.42.0.1'] }).dht.listen, { host: '10.42.0.1', port: 49737 });
  assert.deepEqual(at({ env: { SIDECAR_DHT_LISTEN: '127.0.0.1:0' } }).dht.listen, {
    host: '127.0.0.1',
    port: 0,
  });
  assert.throws(() => at({}), isConfigError);
});

test('variables that Kubernetes makes for a service called sidecar are not mistakes', () => {
  const config = loadEnv({
    SIDECAR_SERVICE_HOST: '10.0.0.1',
    SIDECAR_SERVICE_PORT: '8000',
    SIDECAR_SERVICE_PORT_HTTP: '8000',
    SIDECAR_PORT: 'tcp://10.0.0.1:8000',
    SIDECAR_PORT_8000_TCP_ADDR: '10.0.0.1',
    SIDECAR_TUNNEL_URL: '',
    SIDECAR_UNKNOWN: '',
  });
  assert.equal(config.tunnel.url, null);
  assert.match(problemsOf({ env: { ...KEY, SIDECAR_PORT: '8010' } }).join(), /unknown variable/);
});

test('sources of load: the page of a worker and what counts on it, and that of the GPUs', () => {
  const yaml = (load: string) => ({
    files: { '/c.yaml': `services:\n  infer:\n    url: http://127.0.0.1:9000\n    load: ${load}\n` },
    args: ['--config', '/c.yaml'],
  });
  const page = 'metricsUrl: http://127.0.0.1:9000/metrics';
  const vllm = loadEnv({}, yaml(`{${page}}`)).services[0]?.load;
  assert.deepEqual(vllm, {
    source: 'auto',
    metricsUrl: 'http://127.0.0.1:9000/metrics',
    metrics: null,
    intervalMs: 1000,
  });
  const named = loadEnv({}, yaml(`{${page}, metrics: {"app:queue": 40, busy_ratio: 0.9}}`));
  assert.deepEqual(
    [...(named.services[0]?.load.metrics ?? [])],
    [
      ['app:queue', 40],
      ['busy_ratio', 0.9],
    ],
  );
  const problemOf = (load: string) => problemsOf({ env: KEY, ...yaml(load) }).join('\n');
  assert.match(problemOf('{metrics: {queue: 4}}'), /load\.metrics.* needs load\.metricsUrl/);
  assert.match(problemOf(`{${page}, metrics: {queue: 0}}`), /limit of queue is 0/);
  assert.match(problemOf(`{${page}, metrics: {"a b": 1}}`), /not the name of a metric/);
  assert.match(problemOf(`{${page}, metrics: {queue: many}}`), /"many" is not a number/);
  assert.deepEqual(loadEnv({}).gpu, { metricsUrl: null, devices: null });
  assert.deepEqual(
    loadEnv({ SIDECAR_GPU_METRICS: 'http://127.0.0.1:9400/metrics', SIDECAR_GPU_DEVICES: '0,GPU-1' }).gpu,
    { metricsUrl: 'http://127.0.0.1:9400/metrics', devices: ['0', 'GPU-1'] },
  );
});
