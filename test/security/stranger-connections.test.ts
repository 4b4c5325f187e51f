/**
 * Strangers at the inbound port: floods of HTTP/2 and HTTP/1.1 by who has not proved membership, on real processes. Each
 * ends its own connection at once, costs next to nothing, and takes nothing from members, apps or the operator.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { type HostPort, parseHostPort } from '../../sidecar/core/host-port.ts';
import { modulePath, TiedProcess } from '../../sidecar/demo/tied-process.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { send } from '../support/wire/http-client.ts';
import * as h2 from '../support/wire/http2-frames.ts';
import { http2Client } from '../support/wire/version-clients.ts';
import { Wire } from '../support/wire/wire.ts';

const MIB = 1024 * 1024;
const START = Buffer.concat([h2.PREFACE, h2.settings(), h2.settingsAck()]);
const GET = [':method', 'GET', ':scheme', 'http', ':path', '/service/llm/x', ':authority', 'x'];
/** RFC 7541 §6.2.1: a literal that enters the dynamic table as its newest entry, and one octet that stands for it. */
const BIG_FIELD = Buffer.concat([
  Buffer.from([0x40, 0x01]),
  Buffer.from('x'),
  Buffer.from([0x7f, 0xa1, 0x1e]), // 4,000 = 127 + 33 + 30 × 128
  Buffer.alloc(4_000, 'v'),
]);
const NEWEST = 0xbe;

const many = (count: number, make: (n: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, n) => make(n)));

const odd = (n: number): number => 2 * n + 1;

/** Each some megabytes that are written without a pause, as often as the other side takes them. */
const HTTP2_FLOODS: Readonly<Record<string, () => Buffer>> = {
  'rapid reset (CVE-2023-44487)': () =>
    many(20_000, (n) => Buffer.concat([h2.headers(odd(n), GET, h2.END_STREAM), h2.reset(odd(n), h2.CANCEL)])),
  'a header-compression bomb': () =>
    Buffer.concat([
      h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, 1, Buffer.concat([h2.fieldBlock(GET), BIG_FIELD])),
      many(20_000, (n) =>
        h2.frame(
          h2.HEADERS,
          h2.END_STREAM | h2.END_HEADERS,
          odd(n + 1),
          Buffer.concat([h2.fieldBlock(GET), Buffer.alloc(200, NEWEST)]),
        ),
      ),
    ]),
  'CONTINUATION without end (CVE-2024-27983)': () =>
    Buffer.concat([
      h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.fieldBlock(GET)),
      many(4_000, (n) => h2.frame(h2.CONTINUATION, 0, 1, h2.fieldBlock([`x-${n}`, 'v'.repeat(1_000)]))),
    ]),
  'CONTINUATION frames that are empty': () =>
    Buffer.concat([
      h2.frame(h2.HEADERS, h2.END_STREAM, 1, h2.fieldBlock(GET)),
      many(200_000, () => h2.frame(h2.CONTINUATION, 0, 1)),
    ]),
  PING: () => many(200_000, () => h2.frame(h2.PING, 0, 0, Buffer.alloc(8))),
  SETTINGS: () => many(200_000, () => h2.settings({ 4: 65_535 })),
  'acknowledgements of SETTINGS': () => many(200_000, () => h2.settingsAck()),
  PRIORITY: () => many(200_000, (n) => h2.frame(h2.PRIORITY, 0, odd(n), Buffer.alloc(5))),
  WINDOW_UPDATE: () => many(200_000, () => h2.windowUpdate(0, 1)),
  'empty DATA': () => Buffer.concat([h2.headers(1, GET, 0), many(200_000, () => h2.frame(h2.DATA, 0, 1))]),
  'frames of no known type': () => many(200_000, () => h2.frame(0x7f, 0, 0, 'x')),
  'streams by the thousand, none of them ended': () => many(20_000, (n) => h2.headers(odd(n), GET, 0)),
};

interface Usage {
  readonly rssBytes: number;
  readonly cpuMs: number;
}

function usage({ process: { pid } }: SidecarProcess): Usage {
  const [, rssKib] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return { rssBytes: Number(rssKib) * 1024, cpuMs: (Number(ticks[11]) + Number(ticks[12])) * 10 };
}

/** A worker behind one sidecar, an app beside another, and the two have met. */
async function bed(): Promise<{ readonly app: SidecarProcess; readonly attacked: SidecarProcess }> {
  const mesh = await MeshProcesses.up();
  const worker = await mesh.worker('w');
  const attacked = await mesh.sidecar({ id: 'attacked', services: { llm: worker.url } });
  const app = await mesh.sidecar({ id: 'app' });
  await app.knows(['attacked']);
  return { app, attacked };
}

/** Requests of the app, one after the other, until told to stop: how many, how many failed, how long they took. */
function honestLoad(app: SidecarProcess): () => Promise<{ count: number; failed: number; p99Ms: number }> {
  const tookMs: number[] = [];
  let failed = 0;
  let isOn = true;
  const running = (async () => {
    while (isOn) {
      const startMs = performance.now();
      const { status } = await app.get('llm').catch(() => ({ status: 0 }));
      tookMs.push(performance.now() - startMs);
      if (status !== 200) failed++;
    }
  })();
  return async () => {
    isOn = false;
    await running;
    tookMs.sort((a, b) => a - b);
    return { count: tookMs.length, failed, p99Ms: tookMs[Math.floor(tookMs.length * 0.99)] ?? 0 };
  };
}

/** Writes while the other side takes it; resolves with what it said once it has ended. */
async function flood({ host, port }: HostPort, bytes: Buffer): Promise<Buffer> {
  const socket = net.connect({ host, port });
  const said: Buffer[] = [];
  socket.on('data', (chunk) => said.push(chunk));
  socket.on('error', () => {}); // 'close' follows
  socket.write(START);
  socket.write(bytes);
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(said);
}

/** The code of the goodbye, which a reset may have overtaken: null. */
function goodbyeIn(said: Buffer): number | null {
  for (let at = 0; ; ) {
    const read = h2.readFrame(said.subarray(at));
    if (read === null) return null;
    if (read.frame.type === h2.GOAWAY) return read.frame.payload.readUInt32BE(4);
    at += read.length;
  }
}

describe('strangers who flood the inbound port', () => {
  test('HTTP/2 floods end their connections at once, and cost members nothing', async () => {
    const { app, attacked } = await bed();
    const { inbound } = attacked.address;
    // Made before, since who measures is in one process with who attacks.
    const floods = Object.entries(HTTP2_FLOODS).map(([what, make]) => [what, make()] as const);
    const before = usage(attacked);
    const load = honestLoad(app);
    let [peakBytes, sentBytes] = [0, 0];
    const goodbyes: Record<string, number | null> = {};
    for (const [what, bytes] of floods) {
      const said = await Promise.all(
        Array.from({ length: 16 }, () => {
          sentBytes += bytes.length;
          return flood(inbound, bytes);
        }),
      );
      peakBytes = Math.max(peakBytes, usage(attacked).rssBytes);
      goodbyes[what] = said.map(goodbyeIn).find((code) => code !== null) ?? null;
    }
    const { count, failed, p99Ms } = await load();
    const after = usage(attacked);
    note(
      `${Math.round(sentBytes / MIB)} MiB offered; RSS ${Math.round(before.rssBytes / MIB)} → at most ${Math.round(peakBytes / MIB)} MiB; ` +
        `${after.cpuMs - before.cpuMs} ms of CPU with ${count} requests of members, p99 ${p99Ms.toFixed(1)} ms`,
    );
    note(JSON.stringify(goodbyes));
    expect(failed).toBe(0);
    expect(count).toBeGreaterThan(0);
    expect(peakBytes).toBeLessThan(256 * MIB);
    expect(after.cpuMs - before.cpuMs).toBeLessThan(10_000);
  }, 120_000);

  test('one request is answered in HTTP/2, and with it the connection ends', async () => {
    const { attacked } = await bed();
    const client = http2Client(attacked.address.inbound.port);
    expect((await client.call({ path: '/health' }).done).status).toBe(200);
    const wire = await Wire.connect(attacked.address.inbound.port);
    onTestEnd(() => wire.close());
    wire.send(Buffer.concat([START, h2.headers(1, GET, h2.END_STREAM), h2.headers(3, GET, h2.END_STREAM)]));
    await wire.ended();
    const types: number[] = [];
    for (let at = 0; ; ) {
      const read = h2.readFrame(wire.bytes.subarray(at));
      if (read === null) break;
      at += read.length;
      types.push(read.frame.type);
      if (read.frame.type === h2.HEADERS) expect(read.frame.stream).toBe(1);
    }
    expect(types).toContain(h2.HEADERS);
    expect(types).toContain(h2.GOAWAY);
  });

  test('HTTP/1.1: heads that do not end and heads without limit are refused, and never seen by members', async () => {
    const { app, attacked } = await bed();
    const { host, port } = attacked.address.inbound;
    const load = honestLoad(app);
    const endless = await Wire.connect(port, host);
    onTestEnd(() => endless.close());
    endless.send('GET / HTTP/1.1\r\nHost: x\r\n');
    endless.send(`x: ${'v'.repeat(1_000)}\r\n`.repeat(200));
    expect(await endless.until('\r\n')).toMatch(/^HTTP\/1\.1 431 /);
    const slow = Array.from({ length: 300 }, () => {
      const socket = net.connect({ host, port });
      socket.on('error', () => {});
      socket.resume();
      socket.write('GET /service/llm/x HTTP/1.1\r\nx: ');
      onTestEnd(() => void socket.destroy());
      return new Promise<void>((resolve) => socket.once('close', () => resolve()));
    });
    // Cut by their number at once, and the rest when a head has taken too long.
    await Promise.all(slow);
    const { failed } = await load();
    expect(failed).toBe(0);
  }, 60_000);
});

describe('strangers who hold connections', () => {
  test('250 idle ones, renewed as they are cut, leave descriptors for apps and the operator', async () => {
    const mesh = await MeshProcesses.up();
    const worker = await mesh.worker('w');
    await mesh.sidecar({ id: 'other', services: { llm: worker.url } });
    const any = '127.0.0.1:0';
    const small = new TiedProcess({
      name: 'small',
      module: modulePath('../main'),
      args: [],
      through: ['sh', '-c', 'ulimit -n 200; exec "$@"', 'sh'],
      env: {
        PATH: process.env.PATH,
        SIDECAR_MESH_KEY: mesh.meshKey,
        SIDECAR_BOOTSTRAP: mesh.bootstrapAddress,
        SIDECAR_WORKER_ID: `small-${randomBytes(4).toString('hex')}`,
        SIDECAR_VPN_IP: '127.0.0.1',
        SIDECAR_VPN_CIDR: '127.0.0.0/8',
        SIDECAR_DHT_LISTEN: any,
        SIDECAR_OUTBOUND: any,
        SIDECAR_INBOUND: any,
        SIDECAR_ADMIN: any,
      },
    });
    onTestEnd(() => small.kill());
    const { outbound, inbound, admin } = await small.line((line) => {
      const { address } = line as { address?: Record<'outbound' | 'inbound' | 'admin', string> };
      return address?.outbound === undefined ? null : address;
    });
    const at = (text: string): HostPort => parseHostPort(text) as HostPort;
    await eventually(
      'a peer is known',
      () => send(at(admin), { target: '/readyz' }),
      ({ status }) => status === 200,
    );
    let isOver = false;
    let renewed = 0;
    const sockets = new Set<net.Socket>();
    const refill = (): void => {
      if (isOver) return;
      const socket = net.connect(at(inbound));
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        renewed++;
        sockets.delete(socket);
        setTimeout(refill, 200);
      });
    };
    onTestEnd(() => {
      isOver = true;
      for (const socket of sockets) socket.destroy();
    });
    for (let n = 0; n < 250; n++) refill();
    await small.line(({ message }) => (/strangers are cut/.test(String(message)) ? true : null));
    for (let n = 0; n < 30; n++) {
      expectNamed((await send(at(outbound), { target: '/service/llm/' })).status, 'app').toBe(200);
      expectNamed((await send(at(admin), { target: '/livez' })).status, 'operator').toBe(200);
    }
    expect(renewed).toBeGreaterThan(100);
    const { body } = await send(at(admin), { target: '/metrics' });
    expect(body).toMatch(/reason="too_many_strangers"[^\n]* [1-9]/);
  }, 60_000);
});
