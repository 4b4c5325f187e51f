/** Strangers at the UDP port of the DHT: datagrams that no member has sealed. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const DATAGRAMS = 40_000;
const AT_ONCE = 200;

function cpuMs({ process: { pid } }: SidecarProcess): number {
  const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(ticks[11]) + Number(ticks[12])) * 10;
}

/** One that nothing has now. */
async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

async function rejected(sidecar: SidecarProcess): Promise<number> {
  const { body } = await sidecar.admin('/metrics');
  return Number(/^sidecar_dht_rejected_datagrams_total (\d+)/m.exec(body)?.[1]);
}

describe('strangers at the UDP port', () => {
  test('40,000 garbage datagrams cost little and change nothing', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('w');
    const port = await freeUdpPort();
    const attacked = await mesh.sidecar({
      id: 'attacked',
      services: { llm: worker.url },
      env: { SIDECAR_DHT_LISTEN: `127.0.0.1:${port}` },
    });
    const app = await mesh.sidecar({ id: 'app' });
    await app.knows(['attacked']);
    const cpuBeforeMs = cpuMs(attacked);
    const socket = createSocket('udp4');
    onTestEnd(() => void socket.close());
    for (let n = 0; n < DATAGRAMS; n++) {
      socket.send(Buffer.alloc(1 + (n % 1_200), n), port, '127.0.0.1');
      if (n % AT_ONCE === 0) await pause(1);
    }
    // Those that the kernel had room for; one octet has no MAC, and says nothing.
    const count = await eventually(
      'they were looked at',
      () => rejected(attacked),
      (seen) => seen > DATAGRAMS / 4,
    );
    const took = cpuMs(attacked) - cpuBeforeMs;
    note(`${count} rejected, ${took} ms of CPU`);
    expect(took).toBeLessThan(10_000);
    expect((await app.get('llm')).status).toBe(200);
    expect((await attacked.readyz()).dht.status).toBe('connected');
  }, 60_000);
});
