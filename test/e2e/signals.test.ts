/** Signals besides that of a drain: one that comes while it starts, that of a closed terminal, that of the debugger. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { missingPrograms } from '../support/host/needs.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { open } from '../support/wire/http-client.ts';

const ANY = '127.0.0.1:0';
const SIGNAL_ITSELF = new URL('../support/host/signal-itself.ts', import.meta.url).href;
const AS_PROCESS_1 = ['unshare', '--pid', '--fork', '--kill-child', '--'];

function processOneReason(): string | null {
  if (process.platform !== 'linux') return 'needs Linux process namespaces';
  const missing = missingPrograms('unshare');
  if (missing !== null) return missing;
  const tried = spawnSync('unshare', ['--pid', '--fork', 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? null : `needs leave to make process namespaces: ${tried.stderr.trim()}`;
}

/** A command that gets SIGTERM at this moment of its start. */
function interrupted(command: string, at: string, through: readonly string[] = []) {
  const child = new TiedProcess({
    name: `${command}, signalled at ${at}`,
    module: modulePath('../main'),
    args: [command],
    env: {
      PATH: process.env.PATH,
      NODE_OPTIONS: `--import=${SIGNAL_ITSELF}`,
      SIGNAL_AT: at,
      SIDECAR_MESH_KEY: randomBytes(32).toString('hex'),
      SIDECAR_VPN_IP: 'none',
      SIDECAR_DHT_LISTEN: ANY,
      SIDECAR_OUTBOUND: ANY,
      SIDECAR_INBOUND: ANY,
      SIDECAR_ADMIN: ANY,
    },
    through,
  });
  onTestEnd(() => child.kill());
  return child;
}

describe('signals to a sidecar', () => {
  for (const command of ['run', 'demo', 'bootstrap']) {
    test(`SIGTERM while the code of ${command} is loaded: nothing is begun`, async () => {
      const child = interrupted(command, 'load');
      expectNamed(await child.ended, child.lastLines()).toBe('exit code 0');
      expect(child.lastLines()).toBe('');
    }, 30_000);
  }

  const withoutExecve =
    typeof process.execve === 'function' && process.platform === 'linux'
      ? null
      : 'needs execve of Node 23.11';

  testUnless(withoutExecve)(
    'the size of its young generation is chosen in its own place: the process stays the one that was started',
    async () => {
      const child = interrupted('run', 'never');
      await child.line(({ message }) => (message === 'sidecar listens' ? true : null));
      const line = readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').split('\0');
      expect(line).toContain('--max-semi-space-size=8');
      expect(line.at(-2)).toBe('run');
    },
    30_000,
  );

  test('SIGTERM while ports are opened: what was begun ends, and it does not listen', async () => {
    const child = interrupted('run', 'listen');
    const line = await child.line((said) => said);
    expect([line.message, line.signal]).toStrictEqual(['stopped while it started', 'SIGTERM']);
    expectNamed(await child.ended, child.lastLines()).toBe('exit code 0');
  }, 30_000);

  const withoutNamespace = processOneReason();

  for (const at of ['load', 'listen']) {
    // The kernel drops what process 1 does not catch.
    testUnless(withoutNamespace)(
      `process 1 of a container does not lose SIGTERM (${at})`,
      async () => {
        const child = interrupted('run', at, AS_PROCESS_1);
        expectNamed(await child.ended, child.lastLines()).toBe('exit code 0');
      },
      30_000,
    );
  }

  test('SIGHUP drains, and however often it comes it cuts nothing; nor does one SIGTERM after it', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('one');
    const [one, app] = await Promise.all([
      mesh.sidecar({ id: 'one', services: { llm: worker.url } }),
      mesh.sidecar({ id: 'app' }),
    ]);
    await app.get('llm');
    const message = await open(app.address.outbound, { target: '/service/llm/?mode=sse&events=30&ms=100' });
    const texts: string[] = [];
    message.setEncoding('utf8').on('data', (text: string) => texts.push(text));
    await once(message, 'data');
    one.process.signal('SIGHUP');
    await one.logged({ signal: 'SIGHUP' });
    one.process.signal('SIGHUP');
    one.process.signal('SIGTERM');
    await app.knows(['one'], 'draining');
    await once(message, 'end');
    expect(texts.join('')).toMatch(/id: 30\n.*\n\nevent: done\ndata: \n\n$/);
    expect(await one.process.ended).toBe('exit code 0');
  });

  test('SIGUSR1 opens no debugger, and it goes on serving', async () => {
    const mesh = await MeshProcesses.up();
    const sidecar = await mesh.start({ id: 'one', env: { NODE_OPTIONS: '--inspect-port=0' } });
    sidecar.process.signal('SIGUSR1');
    await eventually(
      'it serves',
      () => sidecar.admin('/livez'),
      ({ status }) => status === 200,
    );
    expect(await sidecar.stop()).toBe('exit code 0');
    expect(sidecar.process.lastLines(500)).not.toMatch(/debugger/i);
  });
});
