/** Mistakes in a configuration: each is told with its place, none crashes, and no secret is repeated. */
import { describe, expect, test } from '@jest/globals';
import type { Config } from '../../sidecar/config/config.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { decodeRecord, RECORD_LIMITS } from '../../sidecar/core/peers/record.ts';
import { configInput, type MadeUp, MESH_KEY } from '../support/generators/config-input.ts';
import { expectNamed, fail, mustHold } from '../support/runner/expectations.ts';

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

describe('mistakes in a configuration', () => {
  test('a mistake in the tokens of apps is told without them', () => {
    const many = Array.from({ length: 101 }, (_, n) => `app-${n}=hunter2-hunter2-${n}`).join(',');
    for (const [text, pattern] of [
      ['hunter2-hunter2-hunter2', /form app=token/],
      ['a=hunter2-hunter2-hunter2,hunter2', /form app=token/],
      ['Hunter2-hunter2-hunter2=chat', /name of an app/],
      ['a=hunter2', /token of a is shorter/],
      ['a=hunter2-hunter2-hunter2\u00e9', /visible ASCII/],
      ['a=hunter2-hunter2-hunter2,b=hunter2-hunter2-hunter2', /token of b is that of a too/],
      ['a=hunter2-hunter2-hunter2,a=hunter2-hunter2-hunter3', /app a is there twice/],
      [`a=${'hunter2'.repeat(100)}`, /longer than 512/],
      ['=hunter2-hunter2-hunter2', /./],
      [many, /more than 100 apps/],
    ] as const) {
      const problems = problemsOf({ env: { ...KEY, SIDECAR_OUTBOUND_TOKENS: text } });
      expectNamed(problems, problems.join('\n')).toHaveLength(1);
      expect(problems.join()).toMatch(pattern);
      expectNamed(problems.join(), text).not.toMatch(/hunter2/i);
    }
    for (const tokens of ['[a]', '{ a: 1234567890123456 }', '{ a: { b: c } }', '5']) {
      const files = { 'c.yml': `outbound: { tokens: ${tokens} }` };
      expectNamed(problemsOf({ env: KEY, files, args: ['--config', 'c.yml'] }), tokens).toHaveLength(1);
    }
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
        'c.yaml':
          'cach: 1\ncache:\n  ttl: 60\n  tll: 5s\nservices:\n  a: { ulr: "http://x" }\n  B: http://x\n',
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
      expectNamed(
        problems.some((problem) => pattern.test(problem)),
        `${pattern} in\n${problems.join('\n')}`,
      ).toBe(true);
    }
    expectNamed(problems, problems.join('\n')).toHaveLength(expected.length);
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
    for (const made of tries)
      expectNamed(problemsOf(made).join('\n'), JSON.stringify(made)).not.toMatch(/hunter2/);
    const digits = {
      args: ['--config', 'c.yaml'],
      files: { 'c.yaml': 'outbound: { token: 1234567890123456 }' },
    };
    expect(problemsOf({ ...digits, env: KEY }).join()).not.toMatch(/1234567/);
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
      expectNamed(problems.join('\n'), content.slice(0, 80)).toMatch(pattern);
      expect(problems.join('\n')).not.toMatch(/cannot be read \(/);
    }
    expect(({} as { x?: unknown }).x).toBe(undefined);
    for (const path of ['c.toml', 'nothing.yaml']) {
      expect(problemsOf({ env: KEY, args: ['--config', path], files: { 'c.toml': 'a = 1' } })).toHaveLength(
        1,
      );
    }
  });

  test('options that contradict each other are a mistake', () => {
    const cases: [Record<string, string>, RegExp][] = [
      [{ SIDECAR_ADMIN: '127.0.0.1:8010' }, /127\.0\.0\.1:8010 is taken by outbound/],
      [{ SIDECAR_SERVICES: 'a=http://127.0.0.1:8010' }, /a points at this sidecar itself/],
      [{ SIDECAR_SERVICES: 'a=http://localhost:8010' }, /a points at this sidecar itself/],
      [{ SIDECAR_ADMIN: 'localhost:8010' }, /127\.0\.0\.1:8010 is taken by outbound/],
      [{ SIDECAR_OUTBOUND: 'localhost:1,[::1]:1' }, /\[::1\]:1 is there twice/],
      [{ SIDECAR_OUTBOUND: '127.0.0.1:1,10.42.0.7:2' }, /10\.42\.0\.7:2 can be reached .*TOKEN must be set/],
      [{ SIDECAR_OUTBOUND: ',' }, /no host:port/],
      [{ SIDECAR_OUTBOUND: Array.from({ length: 17 }, (_, n) => `${n + 1}`).join() }, /more than 16/],
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
      [{ SIDECAR_SERVICES: 'a=ftp://x' }, /starts with http:\/\//],
      [{ SIDECAR_SERVICES: 'a=http://x,a=HTTP://x/' }, /http:\/\/x" is there twice/],
      [{ SIDECAR_SERVICES: 'a=http://x,a=h2c://y' }, /mixes h2c/],
      [{ SIDECAR_SERVICES: 'a=unix:w.sock' }, /whole path of a socket/],
      [{ SIDECAR_MESH_KEY: 'ab'.repeat(32) }, /not a random key/],
      [{ SIDECAR_TUNNEL_CA: '/nope' }, /no such file/],
    ];
    for (const [env, pattern] of cases) {
      const problems = problemsOf({ env: { ...KEY, ...env } });
      expectNamed(problems, problems.join('\n')).toHaveLength(1);
      expect(problems[0] ?? '').toMatch(pattern);
    }
    expect(problemsOf({ env: KEY, hostName: 'my box!' }).join()).toMatch(/SIDECAR_WORKER_ID/);
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
      expectNamed(problems, problems.join('\n')).toHaveLength(1);
      expect(problems[0] ?? '').toMatch(pattern);
    }
    // The most that the configuration takes is a record that peers take.
    const {
      worker,
      tunnel,
      vpn,
      services: offered,
    } = loadEnv(
      {
        SIDECAR_TUNNEL_URL: longest,
        SIDECAR_WORKER_ID: 'x'.repeat(128),
        SIDECAR_VPN_IP: '10.42.0.1',
        SIDECAR_SERVICES: services(64, 's'),
        SIDECAR_CAPABILITIES: Array.from({ length: 32 }, (_, n) => `c${n}=${'é'.repeat(128)}`).join(','),
      },
      { addresses: ['10.42.0.1'] },
    );
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
    expectNamed(decoded.kind, JSON.stringify(decoded)).toBe('ok');
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
    expect(config.tunnel.url).toBe(null);
    expect(problemsOf({ env: { ...KEY, SIDECAR_PORT: '8010' } }).join()).toMatch(/unknown variable/);
  });
});
