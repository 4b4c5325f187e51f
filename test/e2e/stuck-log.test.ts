/**
 * Standard output that takes nothing: a full disk, or a reader who has stopped reading. The sidecar serves and ends
 * as always.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import test from 'node:test';
import { modulePath } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/eventually.ts';
import { send } from '../support/http-client.ts';

const ANY = '127.0.0.1:0';

/** A port that was free a moment ago: the log, which would name the real one, is what is missing here. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function start(outbound: number, stdout: number | 'pipe', through: readonly string[] = []): ChildProcess {
  const [program = process.execPath, ...rest] = [
    ...through,
    process.execPath,
    modulePath('../main'),
    '--log-level=trace',
  ];
  return spawn(program, rest, {
    stdio: ['ignore', stdout, 'inherit'],
    env: {
      PATH: process.env.PATH,
      SIDECAR_MESH_KEY: randomBytes(32).toString('hex'),
      SIDECAR_VPN_IP: 'none',
      SIDECAR_DHT_LISTEN: ANY,
      SIDECAR_OUTBOUND: `127.0.0.1:${outbound}`,
      SIDECAR_INBOUND: ANY,
      SIDECAR_ADMIN: ANY,
      SIDECAR_DRAIN_ACCEPT: '0s',
    },
  });
}

async function assertServesAndEnds(child: ChildProcess, port: number): Promise<void> {
  const answers = await eventually(
    'it answers',
    () => send({ host: '127.0.0.1', port }, { target: '/service/nobody/' }).catch(() => null),
    (answer) => answer !== null,
  );
  assert.equal(answers?.status, 503, answers?.body);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
}

test('a full disk takes no log line', { timeout: 60_000 }, async (t) => {
  const port = await freePort();
  const full = openSync('/dev/full', 'w');
  t.after(() => closeSync(full));
  const child = start(port, full);
  t.after(() => child.kill('SIGKILL'));
  await assertServesAndEnds(child, port);
});

test('a reader who does not read', { timeout: 60_000 }, async (t) => {
  const port = await freePort();
  // A pipe of the shell, since those of Node are sockets: filled to the last byte before it becomes the output.
  const script =
    'mkfifo "$0" && exec 3<>"$0" && rm "$0" && { timeout 1 cat /dev/zero >&3 || :; } && exec "$@" >&3';
  const child = start(port, 'pipe', ['sh', '-c', script, `/tmp/stuck-log-${process.pid}-${port}`]);
  t.after(() => child.kill('SIGKILL'));
  await assertServesAndEnds(child, port);
});
