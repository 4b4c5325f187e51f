/**
 * deploy/systemd and deploy/nebula with the programs that read them: systemd-analyze, nebula-cert, nebula.
 *
 * The units are looked at and not run: that would take a systemd. Their program is Node where this machine has it.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { parse } from 'yaml';
import { ROOT, UNITS } from '../support/host/deployments.ts';
import { nebulaReason } from '../support/host/nebula.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { NetnsRig } from '../support/host/netns.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'deploy-'));
  onTestEnd(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function ran(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env });
  return { status, output: `${stdout}${stderr}` };
}

describe('deploy/systemd', () => {
  const reason = missingPrograms('systemd-analyze');

  function units(): string {
    const made = folder();
    cpSync(join(ROOT, 'deploy/systemd'), made, { recursive: true });
    for (const unit of UNITS) {
      const path = join(made, `${unit}.service`);
      writeFileSync(path, readFileSync(path, 'utf8').replace('/usr/bin/node', process.execPath));
    }
    return made;
  }

  testUnless(reason)('systemd takes the units, the drop-in for GPUs too, and has nothing to say', () => {
    const made = units();
    for (const unit of UNITS) {
      const { status, output } = ran('systemd-analyze', [
        'verify',
        '--man=no',
        join(made, `${unit}.service`),
      ]);
      expectNamed(output, unit).toBe('');
      expect(status).toBe(0);
    }
    const path = join(made, 'dht-sidecar.service');
    writeFileSync(path, readFileSync(path, 'utf8').replace('[Service]', '[Service]\nPrivateDevicez=yes'));
    expect(ran('systemd-analyze', ['verify', '--man=no', path]).output).toContain('PrivateDevicez');
  });

  testUnless(reason)('by systemd-analyze security they are exposed below 2 of 10', () => {
    const made = units();
    for (const unit of UNITS) {
      const args = [
        'security',
        '--offline=yes',
        '--no-pager',
        '--threshold=20',
        join(made, `${unit}.service`),
      ];
      const { status, output } = ran('systemd-analyze', args);
      note(/Overall exposure level.*/.exec(output)?.[0] ?? output);
      expectNamed(status, output).toBe(0);
    }
  });
});

describe('deploy/nebula', () => {
  const script = join(ROOT, 'deploy/nebula/pki');

  /** Makes a CA in a folder of its own; hosts are told that they have all in `dir`. */
  function authority() {
    const root = folder();
    const pki = join(root, 'pki');
    const run = (dir: string, ...args: string[]) =>
      ran('bash', [script, ...args], { ...process.env, NEBULA_PKI: pki, NEBULA_DIR: dir });
    const make = (...args: string[]): void => {
      const { status, output } = run(join(pki, args[1] ?? ''), ...args);
      expectNamed(status, `pki ${args.join(' ')}: ${output}`).toBe(0);
    };
    make('ca', 'test-fleet', '24h');
    return { pki, make, run };
  }

  const lighthouses = (pki: string, host: string): object =>
    (parse(readFileSync(join(pki, host, 'config.yml'), 'utf8')) as { static_host_map: object })
      .static_host_map;

  testUnless(missingPrograms('nebula', 'nebula-cert'))(
    'nebula takes what the script makes, which its owner alone can read',
    () => {
      const { pki, make } = authority();
      make('lighthouse', 'lighthouse-1', '10.42.0.1', '203.0.113.10:4242');
      make('host', 'gpu-1', '10.42.0.11');
      make('host', 'prometheus', '10.42.0.12', 'monitoring');
      for (const host of ['lighthouse-1', 'gpu-1', 'prometheus']) {
        const { status, output } = ran('nebula', ['-test', '-config', join(pki, host, 'config.yml')]);
        expectNamed(status, output).toBe(0);
        const files = readdirSync(join(pki, host)).sort();
        expect(files).toStrictEqual(['ca.crt', 'config.yml', 'host.crt', 'host.key']);
        for (const file of files) expectNamed(statSync(join(pki, host, file)).mode & 0o077, file).toBe(0);
      }
      expect(ran('nebula-cert', ['print', '-path', join(pki, 'prometheus/host.crt')]).output).toContain(
        'monitoring',
      );

      make('lighthouse', 'lighthouse-2', '10.42.0.2', 'second.example.org:4242');
      const [first, second] = [
        { '10.42.0.1': ['203.0.113.10:4242'] },
        { '10.42.0.2': ['second.example.org:4242'] },
      ];
      expect(lighthouses(pki, 'gpu-1')).toStrictEqual({ ...first, ...second });
      expect(lighthouses(pki, 'lighthouse-1')).toStrictEqual(second);
      expect(lighthouses(pki, 'lighthouse-2')).toStrictEqual(first);
    },
  );

  testUnless(missingPrograms('nebula-cert'))('what is wrong is said, and what is there is kept', () => {
    const { pki, make, run } = authority();
    const key = readFileSync(join(pki, 'ca.key'), 'utf8');
    make('lighthouse', 'lighthouse-1', '10.42.0.1', '203.0.113.10:4242');
    const before = readdirSync(pki).sort();
    for (const [args, said] of [
      [['ca', 'again'], 'there is a CA already'],
      [['host', 'lighthouse-1', '10.42.0.9'], 'is there already'],
      [['host', 'gpu-1', '10.42.0.1'], 'is the address of lighthouse-1'],
      [['host', '../gpu-1', '10.42.0.9'], 'a name has letters'],
      [['host', 'gpu-1', '10.42.0.256'], 'is an IPv4 address'],
      [['host', 'gpu-1', '10.42.0.9/8'], 'is an IPv4 address'],
      [['lighthouse', 'l', '10.42.0.9', '203.0.113.10'], 'is host:port'],
      [['lighthouse', 'l', '10.42.0.9', '"]}: 1'], 'is host:port'],
      [['host'], 'pki host NAME'],
      [[], 'pki ca NAME'],
    ] as const) {
      const { status, output } = run('/etc/nebula', ...args);
      expectNamed(output, args.join(' ')).toContain(said);
      expect(status).toBe(64);
    }
    expect(readdirSync(pki).sort()).toStrictEqual(before);
    expect(readFileSync(join(pki, 'ca.key'), 'utf8')).toBe(key);
  });

  testUnless(nebulaReason())(
    'three hosts on a real network: a worker is reached by peers, its metrics by the group monitoring alone',
    async () => {
      const rig = await NetnsRig.up(4, '192.168.79');
      onTestEnd(() => rig.down());
      const { pki, make } = authority();
      const hosts = [
        ['lighthouse', 'lighthouse-1', '10.42.0.1', `${rig.address(1)}:4242`],
        ['host', 'gpu-1', '10.42.0.11'],
        ['host', 'gpu-2', '10.42.0.12'],
        ['host', 'prometheus', '10.42.0.13', 'monitoring'],
      ];
      for (const args of hosts) make(...args);
      for (const [at, [, name = '']] of hosts.entries())
        rig.spawn(at + 1, 'nebula', ['-config', join(pki, name, 'config.yml')], { stdio: 'ignore' });

      const listen = `
        const { createServer } = require('node:net');
        const one = (port) => new Promise((done) => createServer((socket) => socket.end('ok')).listen(port, done));
        Promise.all([8000, 9464, 9000].map(one)).then(() => console.log('listening'));`;
      const worker = rig.spawn(2, process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'ignore'] });
      mustHold(worker.stdout);
      await once(worker.stdout, 'data');

      /** Whether the port answers within a second. */
      const reach = async (from: number, port: number): Promise<boolean> => {
        const call = `
          const socket = require('node:net').connect(${port}, '10.42.0.11');
          socket.setTimeout(1000, () => process.exit(1));
          socket.on('error', () => process.exit(1)).on('data', () => process.exit(0));`;
        return (await rig.exec(from, process.execPath, '-e', call)).status === 0;
      };
      const limitMs = performance.now() + 60_000;
      for (const from of [3, 4]) {
        while (!(await reach(from, 8000)))
          expectNamed(performance.now(), `host ${from} cannot reach the worker`).toBeLessThan(limitMs);
      }
      expect(await reach(4, 9464)).toBe(true);
      expect(await reach(3, 9464)).toBe(false);
      expect(await reach(3, 9000)).toBe(false);
      expect(await reach(4, 9000)).toBe(false);
      expect(await reach(3, 8000)).toBe(true);
    },
  );
});
