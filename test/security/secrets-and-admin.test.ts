/**
 * Secrets that lie open on the host, and the operator's port where others can reach it: who is not asked for a token there
 * learns whom one could attack.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { readTextFile } from '../../sidecar/config/config-file.ts';
import { readHostFacts } from '../../sidecar/config/host-facts.ts';
import { type ConfigInput, loadConfig } from '../../sidecar/config/load.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { modulePath } from '../../sidecar/demo/tied-process.ts';
import { openIdentity } from '../../sidecar/mesh/membership/identity.ts';
import { answerJoin, makeJoinRequest, readJoinRequest } from '../../sidecar/mesh/membership/join-request.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { keptSeed } from '../../sidecar/mesh/membership/worker-key.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';
import { caught, expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { startAdmin } from '../support/wire/admin-port.ts';
import { send } from '../support/wire/http-client.ts';

const TOKEN = 'a-token-of-some-length';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'dht-sidecar-secrets-'));
  onTestEnd(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** With the files and the permissions of this machine. */
function warnings(env: Record<string, string>): readonly string[] {
  const input: ConfigInput = {
    ...configInput({ env }),
    readText: readTextFile,
    host: { ...configInput().host, fileMode: readHostFacts().fileMode ?? (() => null) },
  };
  return loadConfig(input).config.warnings;
}

describe('files of secrets', () => {
  test('others may read it: a warning that says how to mend it; the owner alone: none', () => {
    const file = join(folder(), 'mesh.key');
    writeFileSync(file, MESH_KEY);
    for (const [mode, isOpen] of [
      [0o644, true],
      [0o640, true],
      [0o604, true],
      [0o600, false],
      [0o400, false],
    ] as const) {
      chmodSync(file, mode);
      const said = warnings({ SIDECAR_MESH_KEY_FILE: file }).join('\n');
      if (isOpen)
        expectNamed(said, mode.toString(8)).toMatch(/SIDECAR_MESH_KEY_FILE: other users .* chmod 600/);
      else expectNamed(said, mode.toString(8)).toBe('');
    }
  });

  test('the answer to a join request is no secret: it opens by the key of its worker alone', () => {
    const [file, state] = [join(folder(), 'gpu-1.cert'), folder()];
    const request = makeJoinRequest(keptSeed(state).seed, 'gpu-1');
    const asked = {
      workerId: 'gpu-1',
      offers: ['llm'],
      calls: ['*'],
      days: 3_650,
      nowSeconds: 1_750_000_000,
    };
    writeFileSync(
      file,
      answerJoin(fromMeshKey(Buffer.from(MESH_KEY, 'hex')), readJoinRequest(request), asked),
    );
    chmodSync(file, 0o644);
    const input = configInput({ env: { SIDECAR_CERT_FILE: file, SIDECAR_STATE_DIR: state } });
    const { config } = loadConfig({
      ...input,
      readText: readTextFile,
      host: { ...input.host, fileMode: readHostFacts().fileMode ?? (() => null) },
      checkMembership: (claim) => openIdentity({ ...claim, stateDir: state, nowMs: 1_750_000_000_000 }),
    });
    expect([config.worker.id, config.warnings]).toStrictEqual(['gpu-1', []]);
  });

  test('a secret in the configuration file counts as well, and one line says it for all of them', () => {
    const file = join(folder(), 'sidecar.yaml');
    writeFileSync(file, `mesh: {key: "${MESH_KEY}"}\noutbound: {token: "${TOKEN}"}\n`);
    chmodSync(file, 0o644);
    expect(warnings({ SIDECAR_CONFIG: file }).filter((line) => /other users/.test(line))).toHaveLength(1);
    writeFileSync(file, 'log: {level: info}\n');
    expect(warnings({ SIDECAR_CONFIG: file, SIDECAR_MESH_KEY: MESH_KEY })).toStrictEqual([]);
  });

  test('mesh new --out makes a file for its owner alone, whatever the umask, and keeps one that is there', () => {
    const file = join(folder(), 'mesh.key');
    const run = (): string =>
      execFileSync(
        'sh',
        [
          '-c',
          `umask 0; exec "$@"`,
          'sh',
          process.execPath,
          modulePath('../main'),
          'mesh',
          'new',
          '--out',
          file,
        ],
        {
          env: { PATH: process.env.PATH },
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
    expect(run()).toBe('');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const key = readFileSync(file, 'utf8');
    expect(key).toMatch(/^[0-9a-f]{64}\n$/);
    expect(String(caught(run))).toMatch(/such a file already/);
    expect(readFileSync(file, 'utf8')).toBe(key);
  });
});

const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
const elsewhere = addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
const hasIp6 = addresses.some(({ address }) => address === '::1');

describe('the admin port beyond loopback', () => {
  test('does not start without a token', () => {
    const env = { SIDECAR_MESH_KEY: MESH_KEY, SIDECAR_ADMIN: '0.0.0.0:9464' };
    const fault = caught(() => loadConfig(configInput({ env })));
    expect(isConfigError(fault) && fault.problems.join()).toMatch(/SIDECAR_ADMIN_TOKEN must be set/);
    const { config } = loadConfig(configInput({ env: { ...env, SIDECAR_ADMIN_TOKEN: TOKEN } }));
    expect(config.admin).toMatchObject({ token: TOKEN, openMetrics: false });
    const short = caught(() => loadConfig(configInput({ env: { ...env, SIDECAR_ADMIN_TOKEN: 'short' } })));
    expect(isConfigError(short) && short.problems.join()).toMatch(/shorter than 16/);
  });

  testUnless(elsewhere === undefined ? 'needs an address beyond loopback' : null)(
    'another host sees only what is for everybody, and all with the token; this host needs none',
    async () => {
      for (const openMetrics of [false, true]) {
        const { port } = await startAdmin({}, { host: '0.0.0.0', token: TOKEN, openMetrics });
        const ask = (host: string, target: string, authorization?: string) =>
          send({ host, port }, { target, headers: authorization === undefined ? {} : { authorization } });
        const there = elsewhere ?? '';
        for (const target of [
          '/',
          '/peers',
          '/stats',
          '/targets',
          '/load',
          '/explain?service=a',
          '/nothing',
        ]) {
          for (const wrong of [undefined, 'Bearer nope', `Basic ${TOKEN}`, `Bearer ${TOKEN}x`]) {
            const refused = await ask(there, target, wrong);
            expectNamed(refused.status, `${target} with ${wrong}`).toBe(401);
            expect(refused.headers['www-authenticate']).toBe('Bearer');
          }
        }
        expect((await ask(there, '/peers', `Bearer ${TOKEN}`)).status).toBe(200);
        expect((await ask(there, '/metrics')).status).toBe(openMetrics ? 200 : 401);
        for (const open of ['/livez', '/readyz']) expect((await ask(there, open)).status).toBe(200);
        expect((await ask('127.0.0.1', '/peers')).status).toBe(200);
      }
    },
  );

  testUnless(hasIp6 ? null : 'needs IPv6 on this host')(
    'at an address of both families this host needs no token either, by IPv4 as by IPv6',
    async () => {
      const { port } = await startAdmin({}, { host: '::', token: TOKEN });
      for (const host of ['127.0.0.1', '::1'])
        expectNamed((await send({ host, port }, { target: '/peers' })).status, host).toBe(200);
    },
  );
});
