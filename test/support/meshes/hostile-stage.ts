/**
 * The scene for a hostile member: an app's sidecar that calls, an honest one with a worker, and the hostile one that the
 * caller has met.
 *
 * Whole sidecars on loopback, with short time limits at the caller.
 */
import { expect } from '@jest/globals';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import { eventually } from '../runner/eventually.ts';
import type { Answer } from '../wire/http-client.ts';
import { type HttpWorker, type HttpWorkerOptions, startHttpWorker } from '../workers/http-worker.ts';
import { HostilePeer } from './hostile-peer.ts';
import { type Member, TestMesh } from './mesh.ts';

export interface StageSetup {
  /** What the hostile one offers; the honest one offers `ocr`. */
  readonly services?: readonly string[];
  readonly worker?: HttpWorkerOptions;
  /** Of the honest one's service. */
  readonly service?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

/** Where a sidecar is asked, and for whom the question is signed. */
export interface Place {
  readonly address: HostPort;
  readonly key: string;
}

const ENV = { SIDECAR_TIMEOUT_HEAD: '1s', SIDECAR_TIMEOUT_IDLE: '1s', SIDECAR_CACHE_TTL: '1h' };

export class HostileStage {
  readonly mesh: TestMesh;
  readonly app: Member;
  readonly honest: Member;
  readonly worker: HttpWorker;
  readonly hostile: HostilePeer;
  readonly toApp: Place;
  readonly toHonest: Place;

  /** Everybody knows everybody. */
  static async set(setup: StageSetup = {}): Promise<HostileStage> {
    const { services = ['ocr'], env } = setup;
    const mesh = new TestMesh();
    const worker = await startHttpWorker(setup.worker);
    const ocr = { url: worker.url, ...setup.service };
    const honest = await mesh.join({ id: 'honest', services: { ocr } });
    const app = await mesh.join({ id: 'app', env: { ...ENV, ...env } });
    const toApp = { address: app.running.inbound, key: await keyOf('app', honest) };
    const toHonest = { address: honest.running.inbound, key: await keyOf('honest', app) };
    const hostile = await HostilePeer.start({ meshKey: mesh.meshKey, services });
    const stage = new HostileStage({ mesh, app, honest, worker, hostile, toApp, toHonest });
    await hostile.introduce(toApp);
    await app.knows(['hostile']);
    return stage;
  }

  private constructor(
    parts: Pick<HostileStage, 'mesh' | 'app' | 'honest' | 'worker' | 'hostile' | 'toApp' | 'toHonest'>,
  ) {
    this.mesh = parts.mesh;
    this.app = parts.app;
    this.honest = parts.honest;
    this.worker = parts.worker;
    this.hostile = parts.hostile;
    this.toApp = parts.toApp;
    this.toHonest = parts.toHonest;
  }

  /** Calls the service so often, one after the other, until the hostile one was asked; returns that answer. */
  async drawn(service = 'ocr'): Promise<Answer> {
    const before = this.hostile.asked.length;
    for (let n = 0; n < 200; n += 1) {
      const answer = await this.app.get(service);
      if (this.hostile.asked.length > before) return answer;
    }
    throw new Error('the hostile one was never asked');
  }

  /** Nothing is in progress any more, and both sidecars serve: their gauges, and a request. */
  async isSound(): Promise<void> {
    for (const member of [this.app, this.honest]) {
      await eventually(
        `nothing is in progress at ${member.id}`,
        async () => (await member.admin('/metrics')).body,
        (text) =>
          /_in_progress\{/.test(text) && !/_(?:in_progress|queued|in_flight)\{[^}]*\} [^0]/.test(text),
      );
    }
    expect((await this.app.get('ocr')).status).toBe(200);
    expect((await this.honest.get('ocr')).status).toBe(200);
  }
}

async function keyOf(id: string, knownBy: Member): Promise<string> {
  const peers = await knownBy.knows([id]);
  return peers.find((peer) => peer.worker_id === id)?.public_key ?? '';
}
