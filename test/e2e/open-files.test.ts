/**
 * No file descriptor left: connections are cut off, the log says so once and what to do, and all is well as soon as
 * there are some again.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { parseHostPort } from '../../sidecar/core/host-port.ts';
import { modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { send } from '../support/wire/http-client.ts';

const ANY = '127.0.0.1:0';
const FILES = 80;

describe('a sidecar without free file descriptors', () => {
  test('no file descriptor left: said once with what to do, and over when some are free', async () => {
    const sidecar = new TiedProcess({
      name: 'sidecar',
      module: modulePath('../main'),
      args: [],
      through: ['sh', '-c', `ulimit -n ${FILES}; exec "$@"`, 'sh'],
      env: {
        PATH: process.env.PATH,
        SIDECAR_MESH_KEY: randomBytes(32).toString('hex'),
        SIDECAR_VPN_IP: 'none',
        SIDECAR_DHT_LISTEN: ANY,
        SIDECAR_OUTBOUND: ANY,
        SIDECAR_INBOUND: ANY,
        SIDECAR_ADMIN: ANY,
      },
    });
    onTestEnd(() => sidecar.kill());
    const address = await sidecar.line((line) => (line.address as { outbound?: string } | undefined) ?? null);
    const outbound = parseHostPort(address.outbound ?? '');
    mustHold(outbound);
    const sockets = Array.from({ length: FILES }, () => {
      const socket = connect(outbound.port, outbound.host);
      socket.on('error', () => {}); // cut off
      return socket.resume();
    });
    onTestEnd(() => {
      for (const socket of sockets) socket.destroy();
    });
    const said = await sidecar.line((line) => (line.reason === 'EMFILE' ? line : null));
    expect(String(said.hint)).toMatch(/ulimit/);
    for (let more = 0; more < 3; more++) {
      await expectNamed(send(outbound, { target: '/service/nobody/' }), 'cut off').rejects.toThrow();
    }
    for (const socket of sockets) socket.destroy();
    const answer = await eventually(
      'it answers again',
      () => send(outbound, { target: '/service/nobody/' }).catch(() => null),
      (got) => got !== null,
    );
    expectNamed(answer?.status, answer?.body).toBe(503);
    expect(sidecar.lastLines(500).split('EMFILE').length - 1).toBe(1);
  }, 60_000);
});
