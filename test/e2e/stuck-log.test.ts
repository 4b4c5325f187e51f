/**
 * Standard output that takes nothing: a full disk, or a reader who has stopped reading. The sidecar serves and ends
 * as always.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { modulePath } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { send } from '../support/wire/http-client.ts';

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
  expectNamed(answers?.status, answers?.body).toBe(503);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  expect(await ended).toStrictEqual([0, null]);
}

describe('standard output that takes nothing', () => {
  test('the sidecar serves and ends as always when a full disk takes no line', async () => {
    const port = await freePort();
    const full = openSync('/dev/full', 'w');
    onTestEnd(() => closeSync(full));
    const child = start(port, full);
    onTestEnd(() => child.kill('SIGKILL'));
    await assertServesAndEnds(child, port);
  }, 60_000);

  test('the sidecar serves and ends as always when its reader does not read', async () => {
    const port = await freePort();
    // A pipe of the shell, since those of Node are sockets: filled to the last byte before it becomes the output.
    const script =
      'mkfifo "$0" && exec 3<>"$0" && rm "$0" && { timeout 1 cat /dev/zero >&3 || :; } && exec "$@" >&3';
    const child = start(port, 'pipe', ['sh', '-c', script, `/tmp/stuck-log-${process.pid}-${port}`]);
    onTestEnd(() => child.kill('SIGKILL'));
    await assertServesAndEnds(child, port);
  }, 60_000);
});
