/** The program as a process: help, exit codes, and what goes to which stream. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../sidecar/config/load.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const MAIN = fileURLToPath(new URL('../../sidecar/main.ts', import.meta.url));
const COMMANDS = ['run', 'demo', 'bootstrap', 'mesh', 'peers', 'explain', 'stats', 'doctor'];

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Nothing of the environment here but PATH. */
function program(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH ?? '', ...env } };
    const child = execFile(process.execPath, [MAIN, ...args], options, (_error, out, err) => {
      resolve({ code: child.exitCode, out, err });
    });
  });
}

describe('the command line', () => {
  test('the usage names every command, and each has its help', async () => {
    const usage = await program(['--help']);
    expect(usage.code).toBe(0);
    for (const command of COMMANDS) expect(usage.out).toMatch(new RegExp(`^ {2}${command} `, 'm'));
    const helps = await Promise.all(COMMANDS.map((command) => program([command, '--help'])));
    for (const [at, help] of helps.entries()) {
      expectNamed(help.code, help.err).toBe(0);
      expect(help.out).toMatch(new RegExp(`^Usage: dht-sidecar \\[?${COMMANDS[at]}`));
      expect(help.err).toBe('');
    }
  });

  test('the version is that of the package', async () => {
    const { out, code } = await program(['--version']);
    expect(code).toBe(0);
    expect(out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test('an unknown command ends with 64 and the usage', async () => {
    const { code, out, err } = await program(['peer']);
    expect(code).toBe(64);
    expect(out).toBe('');
    expect(err).toMatch(/no such command: "peer"\. Did you mean peers\?[\s\S]*Usage:/);
  });

  test('mistakes in the configuration end with 64, all at once, on standard error', async () => {
    const { code, out, err } = await program(['run', '--polcy', 'rank'], {
      SIDECAR_CACHE_TTL: '5',
      SIDECAR_INBOUND: 'x',
    });
    expect(code).toBe(64);
    expect(out).toBe('');
    expect(err).toMatch(/^dht-sidecar: 4 mistakes in the configuration:\n/);
    for (const word of ['--polcy', 'SIDECAR_CACHE_TTL', 'SIDECAR_INBOUND', 'SIDECAR_MESH_KEY']) {
      expect(err).toMatch(new RegExp(`^ {2}${word}: `, 'm'));
    }
  });

  test('no sidecar there: exit code 1, and what to do', async () => {
    // Port 1 of loopback: nobody listens there.
    const results = await Promise.all(
      [['peers'], ['stats'], ['explain', 'llm']].map((args) => program([...args, '--admin', '127.0.0.1:1'])),
    );
    for (const { code, err, out } of results) {
      expect(code).toBe(1);
      expect(out).toBe('');
      expect(err).toMatch(/^dht-sidecar: 127\.0\.0\.1:1 refuses connections: no sidecar runs there\./);
    }
  });

  test('mesh new makes a key, mesh cert a certificate that a worker starts with', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sidecar-'));
    onTestEnd(() => rmSync(directory, { recursive: true }));
    const made = await program(['mesh', 'new']);
    expect(made.code).toBe(0);
    expect(made.out).toMatch(/^[0-9a-f]{64}\n$/);
    const keyFile = join(directory, 'key');
    writeFileSync(keyFile, made.out);

    const args = [
      'mesh',
      'cert',
      '--worker-id',
      'w1',
      '--services',
      'a,b',
      '--days',
      '2',
      '--mesh-key-file',
      keyFile,
    ];
    const cert = await program(args);
    expectNamed(cert.code, cert.err).toBe(0);
    expect(cert.out).not.toContain(made.out.trim());
    expect(cert.err).not.toContain(made.out.trim());
    const input = {
      ...configInput({ env: { SIDECAR_CERT: cert.out, SIDECAR_SERVICES: 'b=http://127.0.0.1:9' } }),
    };
    const { openIdentity } = await import('../../sidecar/mesh/membership/identity.ts');
    const checkMembership: typeof input.checkMembership = (claim) =>
      openIdentity({ ...claim, nowMs: Date.now() });
    expect(loadConfig({ ...input, checkMembership }).config.worker.id).toBe('w1');

    const json = await program([...args, '--json', '--calls', 'c']);
    const parsed = JSON.parse(json.out) as Record<string, unknown>;
    expect([parsed.worker_id, parsed.offers, parsed.calls]).toStrictEqual(['w1', ['a', 'b'], ['c']]);
  });

  test('mesh join makes a key and a request, mesh sign answers it, and the worker is who asked', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sidecar-'));
    onTestEnd(() => rmSync(directory, { recursive: true }));
    const stateDir = join(directory, 'state');
    const asked = await program(['mesh', 'join', '--worker-id', 'gpu-1', '--state-dir', stateDir]);
    expectNamed(asked.code, asked.err).toBe(0);
    expect(asked.out).toMatch(/^sidecar-join-v1\.[\w-]+\n$/);
    expect(statSync(join(stateDir, 'worker.key')).mode & 0o777).toBe(0o600);
    const seed = readFileSync(join(stateDir, 'worker.key'), 'utf8').trim();

    const file = join(directory, 'request');
    writeFileSync(file, asked.out);
    const env = { SIDECAR_MESH_KEY: MESH_KEY };
    const signed = await program(['mesh', 'sign', file, '--services', 'a', '--days', '2', '--json'], env);
    expectNamed(signed.code, signed.err).toBe(0);
    const said = JSON.parse(signed.out) as { cert: string; worker_id: string; worker_key: string };
    expect(said.worker_id).toBe('gpu-1');
    expect(asked.err).toContain(said.worker_key);
    for (const text of [asked.out, asked.err, signed.out, signed.err]) expect(text).not.toContain(seed);
    const line = await program(['mesh', 'sign', asked.out.trim(), '--services', 'a'], env);
    expect(line.out).toMatch(/^sidecar-cert-v2\.[\w-]+\n$/);

    const input = configInput({
      env: { SIDECAR_CERT: said.cert, SIDECAR_STATE_DIR: stateDir, SIDECAR_SERVICES: 'a=http://127.0.0.1:9' },
    });
    const { openIdentity } = await import('../../sidecar/mesh/membership/identity.ts');
    const checkMembership: typeof input.checkMembership = (claim) =>
      openIdentity({ ...claim, nowMs: Date.now() });
    expect(loadConfig({ ...input, checkMembership }).config.worker.id).toBe('gpu-1');
  });

  test('mesh revoke makes a list and adds to it, and takes none that another key has signed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sidecar-'));
    onTestEnd(() => rmSync(directory, { recursive: true }));
    const list = join(directory, 'revoked.list');
    const [a, b] = ['aa'.repeat(32), 'bb'.repeat(32)];
    const env = { SIDECAR_MESH_KEY: MESH_KEY };
    const { readRevocations } = await import('../../sidecar/mesh/membership/revocations.ts');
    const { fromMeshKey, parseMeshKey } = await import('../../sidecar/mesh/membership/mesh-keys.ts');
    const secrets = fromMeshKey(parseMeshKey(MESH_KEY));
    for (const key of [a, b]) {
      const made = await program(['mesh', 'revoke', key, '--list', list], env);
      expectNamed(made.code, made.err).toBe(0);
      expect(made.out).toBe(readFileSync(list, 'utf8'));
    }
    expect([...(readRevocations(secrets, readFileSync(list, 'utf8'))?.keys ?? [])]).toStrictEqual([a, b]);
    const other = await program(['mesh', 'revoke', a, '--list', list], {
      SIDECAR_MESH_KEY: `${'1f'.repeat(31)}20`,
    });
    expect([other.code, other.err]).toStrictEqual([
      64,
      expect.stringContaining('no list that this mesh key has signed'),
    ]);
    const none = await program(['mesh', 'revoke', 'w1', '--list', list], env);
    expect([none.code, none.err]).toStrictEqual([64, expect.stringContaining('not a worker key')]);
  });

  test('mesh join and mesh sign tell what is missing', async () => {
    const join = await program(['mesh', 'join']);
    expect(join.code).toBe(64);
    for (const word of ['--worker-id', '--state-dir'])
      expect(join.err).toMatch(new RegExp(`^ {2}${word}: `, 'm'));
    expect((await program(['mesh', 'sign'])).err).toMatch(/the line that `mesh join` printed/);
    const garbage = await program(['mesh', 'sign', 'sidecar-join-v1.AAAA', '--services', 'a']);
    expect([garbage.code, garbage.err]).toStrictEqual([
      64,
      expect.stringContaining('The request is damaged'),
    ]);
  });

  test('mesh cert tells all its mistakes', async () => {
    const { code, err } = await program(['mesh', 'cert', '--services', 'a/b', '--days', '-1']);
    expect(code).toBe(64);
    for (const word of ['--worker-id', '--services', 'SIDECAR_MESH_KEY'])
      expect(err).toMatch(new RegExp(`^ {2}${word}: `, 'm'));
    expect((await program(['mesh'])).code).toBe(64);
  });

  test('bootstrap says the line that others join by, is joined by it, and ends with 0', async () => {
    const env = {
      PATH: process.env.PATH ?? '',
      SIDECAR_MESH_KEY: MESH_KEY,
      SIDECAR_DHT_LISTEN: '127.0.0.1:0',
    };
    const child = spawn(process.execPath, [MAIN, 'bootstrap'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    try {
      let join = '';
      for await (const line of createInterface(child.stdout)) {
        join = /SIDECAR_BOOTSTRAP=(127\.0\.0\.1:\d+)/.exec(line)?.[1] ?? '';
        if (join !== '') break;
      }
      const doctor = await program(['doctor', '--json', '--admin', '127.0.0.1:1'], {
        SIDECAR_MESH_KEY: MESH_KEY,
        SIDECAR_BOOTSTRAP: join,
      });
      const { checks } = JSON.parse(doctor.out) as {
        checks: { name: string; result: string; detail: string }[];
      };
      const found = checks.find((check) => check.name === 'bootstrap nodes');
      expect([found?.result, found?.detail]).toStrictEqual(['ok', `${join} answers over UDP`]);
      expectNamed(doctor.code, 'the admin port does not answer').toBe(1);
    } finally {
      child.kill('SIGTERM');
    }
    expect(await exited).toStrictEqual([0, null]);
  });
});
