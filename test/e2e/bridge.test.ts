/**
 * Two containers on a bridge: nothing between two sidecars but UDP and TCP, each with its worker's address
 * only on its own loopback. They find each other and route; without UDP they say what is wrong.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect } from '@jest/globals';
import { NetnsRig, netnsReason } from '../support/host/netns.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const reason = netnsReason();
const MAIN = join(import.meta.dirname, '../../sidecar/main.ts');
const MESH_KEY = randomBytes(32).toString('hex');
const DHT_PORT = 49737;

/** Far beyond what anything here takes; only a failure waits for it. */
const PATIENCE_MS = 30_000;

const WORKER = `
  import { createServer } from 'node:http';
  createServer((q, s) => s.end('worker saw ' + q.method + ' ' + q.url)).listen(9000, '127.0.0.1', () => console.log('up'));`;

const FETCH = `
  const r = await fetch(process.argv[1], { signal: AbortSignal.timeout(10000) });
  console.log(JSON.stringify({ status: r.status, headers: Object.fromEntries(r.headers), body: await r.text() }));`;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** GET made inside a host; null when nothing listens there yet. */
async function get(rig: NetnsRig, host: number, url: string): Promise<Answer | null> {
  const args = ['--input-type=module', '-e', FETCH, url];
  const { status, stdout } = await rig.exec(host, process.execPath, ...args);
  return status === 0 ? (JSON.parse(stdout) as Answer) : null;
}

async function until(
  what: string,
  ask: () => Promise<Answer | null>,
  is: (answer: Answer) => boolean,
  sidecars: readonly Running[],
): Promise<Answer> {
  const limit = performance.now() + PATIENCE_MS;
  let last: Answer | null = null;
  // A sidecar that ended will not answer any more.
  while (performance.now() < limit && sidecars.every((sidecar) => sidecar.process.exitCode === null)) {
    last = await ask();
    if (last !== null && is(last)) return last;
    await delay(100);
  }
  const logs = sidecars.map((sidecar) => sidecar.log()).join('\n');
  throw new Error(`${what}: not within ${PATIENCE_MS} ms; last response ${JSON.stringify(last)}\n${logs}`);
}

interface Running {
  readonly process: ChildProcess;
  /** All that it has logged so far. */
  log(): string;
}

function startSidecar(rig: NetnsRig, host: number, settings: Readonly<Record<string, string>>): Running {
  const env = { ...process.env, SIDECAR_MESH_KEY: MESH_KEY, SIDECAR_WORKER_ID: `host-${host}`, ...settings };
  const child = rig.spawn(host, process.execPath, [MAIN, 'run'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return { process: child, log: () => text };
}

describe('two containers on a bridge', () => {
  testUnless(reason)('two hosts on a bridge find each other and route by VPN address', async () => {
    const rig = await NetnsRig.up(2);
    onTestEnd(() => rig.down());
    rig.spawn(1, process.execPath, ['--input-type=module', '-e', WORKER]);
    const offering = startSidecar(rig, 1, {
      SIDECAR_SERVICES: 'llm-inference=http://127.0.0.1:9000',
      SIDECAR_DHT_LISTEN: `${rig.address(1)}:${DHT_PORT}`,
    });
    const calling = startSidecar(rig, 2, { SIDECAR_BOOTSTRAP: `${rig.address(1)}:${DHT_PORT}` });

    const url = 'http://127.0.0.1:8010/service/llm-inference/v1/chat?a=%20b';
    const answer = await until(
      'a routed answer',
      () => get(rig, 2, url),
      (seen) => seen.status === 200,
      [offering, calling],
    );
    expect(answer.body).toBe('worker saw GET /v1/chat?a=%20b');
    expect(answer.headers['sidecar-worker']).toBe('host-1');
    expect(answer.headers['sidecar-route']).toBe('vpn');

    const ready = await get(rig, 2, 'http://127.0.0.1:9464/readyz');
    expect(ready?.status).toBe(200);
    const direct = await get(rig, 2, `http://${rig.address(1)}:8000/service/llm-inference/v1/chat`);
    expectNamed(direct?.status, 'a caller that is no member is refused').toBe(401);
  });

  testUnless(reason)('with UDP blocked, readyz and the log say so and what to do', async () => {
    const rig = await NetnsRig.up(2);
    onTestEnd(() => rig.down());
    startSidecar(rig, 1, {
      SIDECAR_SERVICES: 'llm-inference=http://127.0.0.1:9000',
      SIDECAR_DHT_LISTEN: `${rig.address(1)}:${DHT_PORT}`,
    });
    rig.blockUdp(2);
    const first = `${rig.address(1)}:${DHT_PORT}`;
    const calling = startSidecar(rig, 2, { SIDECAR_BOOTSTRAP: first });

    const readyz = () => get(rig, 2, 'http://127.0.0.1:9464/readyz');
    const saysUdp = (seen: Answer) => seen.body.includes('UDP');
    const answer = await until('readyz says that UDP is blocked', readyz, saysUdp, [calling]);
    expect(answer.status).toBe(503);
    expectNamed(answer.body, `names the node that was asked: ${answer.body}`).toContain(first);
    await until('the log says it too', readyz, () => calling.log().includes('UDP'), [calling]);

    const route = () => get(rig, 2, 'http://127.0.0.1:8010/service/llm-inference/x');
    const refused = await route();
    expect(refused?.status).toBe(503);
    expect(codeOf(refused)).toBe('discovery_unavailable');

    rig.heal();
    await until('it recovers by itself', route, (seen) => codeOf(seen) !== 'discovery_unavailable', [
      calling,
    ]);
  });
});

/** `code` of a problem+json answer; null for any other. */
function codeOf(answer: Answer | null): string | null {
  if (answer?.headers['content-type'] !== 'application/problem+json') return null;
  return (JSON.parse(answer.body) as { code: string }).code;
}
