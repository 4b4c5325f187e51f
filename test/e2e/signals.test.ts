/** Signals besides that of a drain: one that comes while it starts, that of a closed terminal, that of the debugger. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import { modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/eventually.ts';
import { open } from '../support/http-client.ts';
import { MeshProcesses } from '../support/mesh-processes.ts';
import { missingPrograms, skipUnless } from '../support/needs.ts';

const ANY = '127.0.0.1:0';
const SIGNAL_ITSELF = new URL('../support/signal-itself.ts', import.meta.url).href;
const AS_PROCESS_1 = ['unshare', '--pid', '--fork', '--kill-child', '--'];

function processOneReason(): string | null {
  if (process.platform !== 'linux') return 'needs Linux process namespaces';
  const missing = missingPrograms('unshare');
  if (missing !== null) return missing;
  const tried = spawnSync('unshare', ['--pid', '--fork', 'true'], { encoding: 'utf8' });
  return tried.status === 0 ? null : `needs leave to make process namespaces: ${tried.stderr.trim()}`;
}

/** A command that gets SIGTERM at this moment of its start. */
function interrupted(t: TestContext, command: string, at: string, through: readonly string[] = []) {
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
  t.after(() => child.kill());
  return child;
}

for (const command of ['run', 'demo', 'bootstrap']) {
  test(`SIGTERM while the code of ${command} is loaded: nothing is begun`, { timeout: 30_000 }, async (t) => {
    const child = interrupted(t, command, 'load');
    assert.equal(await child.ended, 'exit code 0', child.lastLines());
    assert.equal(child.lastLines(), '');
  });
}

test('SIGTERM while ports are opened: what was begun ends, and it does not listen', {
  timeout: 30_000,
}, async (t) => {
  const child = interrupted(t, 'run', 'listen');
  const line = await child.line((said) => said);
  assert.deepEqual([line.message, line.signal], ['stopped while it started', 'SIGTERM']);
  assert.equal(await child.ended, 'exit code 0', child.lastLines());
});

const withoutNamespace = skipUnless(processOneReason());

for (const at of ['load', 'listen']) {
  // The kernel drops what process 1 does not catch.
  const options = { skip: withoutNamespace, timeout: 30_000 };
  test(`process 1 of a container does not lose SIGTERM (${at})`, options, async (t) => {
    const child = interrupted(t, 'run', at, AS_PROCESS_1);
    assert.equal(await child.ended, 'exit code 0', child.lastLines());
  });
}

test('SIGHUP drains, and however often it comes it cuts nothing; nor does one SIGTERM after it', async (t) => {
  const mesh = await MeshProcesses.up(t);
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
  assert.match(texts.join(''), /id: 30\n.*\n\nevent: done\ndata: \n\n$/);
  assert.equal(await one.process.ended, 'exit code 0');
});

test('SIGUSR1 opens no debugger, and it goes on serving', async (t) => {
  const mesh = await MeshProcesses.up(t);
  const sidecar = await mesh.start({ id: 'one', env: { NODE_OPTIONS: '--inspect-port=0' } });
  sidecar.process.signal('SIGUSR1');
  await eventually(
    'it serves',
    () => sidecar.admin('/livez'),
    ({ status }) => status === 200,
  );
  assert.equal(await sidecar.stop(), 'exit code 0');
  assert.doesNotMatch(sidecar.process.lastLines(500), /debugger/i);
});
