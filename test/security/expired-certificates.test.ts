/**
 * Certificates that end while their holders run: whoever has one is dropped, with what is open to it and from it; it is
 * said everywhere before; and a renewed file is taken by the running process.
 */
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { createBundle } from '../../sidecar/mesh/membership/certificate-bundle.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { note } from '../support/runner/note.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { open } from '../support/wire/http-client.ts';

const DAY_SECONDS = 86_400;
/** Long enough for a mesh to come up, on a busy machine too. */
const LIFE_SECONDS = 25;
/** What is promised, and what a busy machine may add. */
const DROPPED_WITHIN_MS = 5_000;
const SLACK_MS = 5_000;

/** Responds at once, and to /stream with a byte every 100 ms for ever. */
async function endlessWorker(): Promise<string> {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/plain' });
    if (request.url !== '/stream') {
      response.end('ok');
      return;
    }
    const drip = setInterval(() => response.write('.'), 100);
    response.on('close', () => clearInterval(drip));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Resolves with when (Unix ms) a stream that has begun was cut. */
async function cutAt(from: SidecarProcess, service: string): Promise<{ readonly cut: Promise<number> }> {
  const response = await open(from.address.outbound, { target: `/service/${service}/stream` });
  expectNamed(response.statusCode, `a stream of ${service}`).toBe(200);
  response.resume();
  response.on('error', () => {}); // 'close' follows
  return { cut: new Promise((resolve) => response.once('close', () => resolve(Date.now()))) };
}

describe('a certificate that ends while its holder runs', () => {
  test('its holder is dropped as caller and as worker, streams too; a renewed file is taken without a restart', async () => {
    const mesh = await MeshProcesses.up();
    const folder = await mkdtemp(join(tmpdir(), 'dht-sidecar-certs-'));
    onTestEnd(() => rm(folder, { recursive: true, force: true }));
    const secrets = fromMeshKey(Buffer.from(mesh.meshKey, 'hex'));
    const nowSeconds = Date.now() / 1_000;
    const endsMs = Math.floor(nowSeconds + LIFE_SECONDS) * 1_000;
    /** As an operator replaces a file: whole, by a rename. */
    const certify = async (
      workerId: string,
      lifeSeconds: number,
      offers: readonly string[],
    ): Promise<string> => {
      const bundle = createBundle(secrets, {
        workerId,
        offers,
        calls: ['*'],
        days: lifeSeconds / DAY_SECONDS,
        nowSeconds: lifeSeconds === LIFE_SECONDS ? nowSeconds : Date.now() / 1_000,
      });
      const file = join(folder, `${workerId}.cert`);
      await writeFile(`${file}.new`, `${bundle}\n`, { mode: 0o600 });
      await rename(`${file}.new`, file);
      return file;
    };
    const worker = await endlessWorker();
    const byCertificate = async (id: string, services: Readonly<Record<string, string>>) =>
      mesh.sidecar({
        id,
        services,
        env: {
          SIDECAR_MESH_KEY: '',
          SIDECAR_CERT_FILE: await certify(id, LIFE_SECONDS, Object.keys(services)),
        },
      });
    const [app, keyed] = await Promise.all([
      byCertificate('app', {}),
      mesh.sidecar({ id: 'keyed', services: { ocr: worker } }),
      byCertificate('expiring', { llm: worker }),
    ]);
    await keyed.knows(['expiring', 'app']);
    await app.knows(['keyed']);
    expect((await keyed.get('llm')).status).toBe(200);
    expect((await app.get('ocr')).status).toBe(200);
    const toExpiring = await cutAt(keyed, 'llm');
    const fromExpiring = await cutAt(app, 'ocr');
    const before = JSON.stringify(await app.readyz());
    expect(before).toMatch(/certificate_ends_soon/);
    expect(before).toMatch(/"days_left":0/);
    expect((await app.admin('/metrics')).body).toContain(
      `sidecar_certificate_expiry_timestamp_seconds ${endsMs / 1_000}`,
    );
    await app.logged({ part: 'mesh', ends: new Date(endsMs).toISOString() });

    const cuts = [await toExpiring.cut, await fromExpiring.cut];
    await keyed.forgets('expiring');
    const forgottenMs = Date.now();
    for (const atMs of [...cuts, forgottenMs]) {
      expect(atMs).toBeGreaterThanOrEqual(endsMs);
      expect(atMs - endsMs).toBeLessThan(DROPPED_WITHIN_MS + SLACK_MS);
    }
    note(`dropped after ${cuts.map((atMs) => atMs - endsMs).join(', ')} and ${forgottenMs - endsMs} ms`);
    expect((await keyed.get('llm')).status).toBe(503);
    expect((await app.get('ocr')).status).not.toBe(200);
    const ended = await eventually(
      'readyz says it',
      () => app.readyz(),
      ({ reasons }) => reasons.some(({ code }) => code === 'certificate_ended'),
    );
    expect(ended.ready).toBe(false);

    await certify('app', DAY_SECONDS, []);
    await certify('expiring', DAY_SECONDS, ['llm']);
    await eventually(
      'the renewed worker serves again',
      () => keyed.get('llm'),
      ({ status }) => status === 200,
    );
    await eventually(
      'the renewed app is served again',
      () => app.get('ocr'),
      ({ status }) => status === 200,
    );
    expect(JSON.stringify(await app.readyz())).not.toMatch(/certificate_ended/);

    // What is no good changes nothing.
    await writeFile(join(folder, 'app.cert'), 'sidecar-cert-v1.nonsense');
    await app.process.line(({ message }) => (/cannot be used/.test(String(message)) ? true : null));
    expect((await app.get('ocr')).status).toBe(200);
  }, 120_000);
});
