/**
 * What membership costs a request: sign, verify, and both for the response, beside the first contact and
 * beside what the obvious alternatives would cost (HMAC by node:crypto, an Ed25519 signature per request).
 *
 * In process and without sockets, so that it measures this and nothing else. `node bench/auth.ts [--json]`
 */
import { Buffer } from 'node:buffer';
import { createHmac, createSecretKey } from 'node:crypto';
import process from 'node:process';
import sodium from 'sodium-universal';
import { openRecord, sealRecord } from '../sidecar/mesh/discovery/sealed-record.ts';
import { type Identity, openIdentity } from '../sidecar/mesh/membership/identity.ts';
import { RequestAuth } from '../sidecar/mesh/membership/request-auth.ts';

const MESH_KEY = Buffer.alloc(32, 'bench');
const START_MS = Date.now();
const SERVICES = ['llm-inference', 'vision-ocr'];

function worker(workerId: string): Identity {
  return openIdentity({
    meshKey: MESH_KEY,
    certBundle: null,
    workerId,
    services: SERVICES,
    stateDir: null,
    nowMs: START_MS,
  });
}

interface Row {
  readonly what: string;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** Batches, because one call is shorter than a clock reading is exact. */
function measure(what: string, batches: number, perBatch: number, work: (i: number) => void): Row {
  const samples: number[] = [];
  for (let b = 0, i = 0; b < batches; b++) {
    const from = process.hrtime.bigint();
    for (let n = 0; n < perBatch; n++) work(i++);
    // The first fifth warms the compiler up.
    if (b >= batches / 5) samples.push(Number(process.hrtime.bigint() - from) / perBatch / 1000);
  }
  samples.sort((a, b) => a - b);
  const at = (q: number) =>
    samples[Math.min(samples.length - 1, Math.floor(samples.length * q))] ?? Number.NaN;
  return { what, p50Us: at(0.5), p99Us: at(0.99) };
}

const BATCHES = 500;
const PER_BATCH = 100;
const TOTAL = BATCHES * PER_BATCH;

const a = worker('worker-cpu-001');
const b = worker('worker-gpu-001');
const caller = new RequestAuth(a);
const callee = new RequestAuth(b);
const request = {
  method: 'POST',
  target: '/service/llm-inference/v1/chat/completions',
  service: 'llm-inference',
  nowMs: START_MS,
};

const signed = Array.from({ length: TOTAL }, () => caller.sign({ ...request, peerKey: b.keyHex }));
const answers = new Array<string>(TOTAL).fill('');
const rows: Row[] = [];
rows.push(
  measure('sign a request', BATCHES, PER_BATCH, () => {
    caller.sign({ ...request, peerKey: b.keyHex });
  }),
);
rows.push(
  measure('verify a request', BATCHES, PER_BATCH, (i) => {
    const verdict = callee.verify({ ...request, header: signed[i]?.header });
    if (verdict.kind !== 'member') throw new Error(verdict.detail);
  }),
);
rows.push(
  measure('sign a response', BATCHES, PER_BATCH, (i) => {
    answers[i] = callee.signResponse({
      peerKey: a.keyHex,
      nonce: signed[i]?.nonce ?? '',
      status: 200,
      nowMs: START_MS,
    });
  }),
);
rows.push(
  measure('verify a response', BATCHES, PER_BATCH, (i) => {
    const nonce = signed[i]?.nonce ?? '';
    if (
      !caller.verifyResponse({ peerKey: b.keyHex, nonce, status: 200, nowMs: START_MS, header: answers[i] })
    )
      throw new Error('?');
  }),
);
const roundTripUs = rows.reduce((sum, row) => sum + row.p50Us, 0);

const strangerHeader = (signed[0]?.header ?? '').replace(/.{4}$/, 'AAAA');
rows.push(
  measure('refuse a wrong MAC', BATCHES, PER_BATCH, () => {
    callee.verify({ ...request, header: strangerHeader });
  }),
);
const contacts = Array.from({ length: 100 }, (_, i) =>
  new RequestAuth(worker(`worker-${i}`)).sign({ ...request, peerKey: b.keyHex }),
);
const fresh = Array.from({ length: 100 }, () => new RequestAuth(b));
rows.push(
  measure('first contact: verify', 100, 1, (i) => {
    fresh[i]?.verify({ ...request, header: contacts[i]?.header });
  }),
);
const record = {
  worker_id: a.workerId,
  vpn_ip: '10.42.0.10',
  tunnel_url: null,
  services: SERVICES,
  capabilities: { has_gpu: true, gpu_type: 'RTX 4090', worker_type: 'gpu' },
  load: 0.35,
  last_seen: START_MS / 1000,
  public_key: a.keyHex,
  epoch: START_MS,
  seq: 1,
  revision: 0,
  state: 'ready' as const,
  inbound_port: 8000,
  figures: {},
};
const sealed = sealRecord(a, record);
rows.push(measure('seal a record', 100, 10, () => sealRecord(a, record)));
rows.push(
  measure('open a record', 100, 10, () => {
    if (openRecord(b.secrets, sealed, { nowMs: START_MS, maxSkewMs: 1000 }).kind !== 'ok')
      throw new Error('?');
  }),
);

const text = Buffer.from(`${request.method}${request.target}${request.service}${signed[0]?.nonce}`);
const key = createSecretKey(Buffer.alloc(32, 1));
const signature = Buffer.alloc(64);
const comparisons = [
  measure('HMAC-SHA-256 (node:crypto), one MAC', BATCHES, PER_BATCH, () => {
    createHmac('sha256', key).update(text).digest('base64url');
  }),
  measure('Ed25519, one signature and check', 100, 10, () => {
    sodium.crypto_sign_detached(signature, text, a.secretKey);
    sodium.crypto_sign_verify_detached(signature, text, a.publicKey);
  }),
];

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ rows, comparisons, roundTripUs }));
} else {
  console.log('microseconds per call, one core'.padEnd(40), 'p50'.padStart(8), 'p99'.padStart(8));
  for (const { what, p50Us, p99Us } of [...rows, ...comparisons]) {
    console.log(what.padEnd(40), p50Us.toFixed(2).padStart(8), p99Us.toFixed(2).padStart(8));
  }
  const four = 4 * (comparisons[0]?.p50Us ?? Number.NaN);
  const asymmetric = 2 * (comparisons[1]?.p50Us ?? Number.NaN);
  console.log(`\nrequest and response, both sides: ${roundTripUs.toFixed(1)} µs`);
  console.log(`four bare HMACs by node:crypto take ${(four / roundTripUs).toFixed(1)} × that,`);
  console.log(`a signature on request and response ${(asymmetric / roundTripUs).toFixed(1)} ×`);
  console.log(
    `header of a request: ${signed[0]?.header.length} bytes; sealed record: ${sealed.length} bytes`,
  );
}
