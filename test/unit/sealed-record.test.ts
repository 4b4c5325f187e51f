import { Buffer } from 'node:buffer';
import { describe, expect, test } from '@jest/globals';
import sodium from 'sodium-universal';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import {
  MAX_PUT_BYTES,
  MAX_SEALED_BYTES,
  openRecord,
  type RecordFault,
  sealRecord,
} from '../../sidecar/mesh/discovery/sealed-record.ts';
import { issueCertificate } from '../../sidecar/mesh/membership/certificate-issuer.ts';
import type { Identity } from '../../sidecar/mesh/membership/identity.ts';
import { fromMeshKey } from '../../sidecar/mesh/membership/mesh-keys.ts';
import { certified, member, NOW_MS, OTHER_MESH_KEY, recordOf } from '../support/meshes/members.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const worker = member('worker-gpu-001', { services: ['llm-inference', 'vision-ocr'] });
const reader = member('worker-cpu-001');
const HOUR_MS = 3_600_000;
const now = { nowMs: NOW_MS, maxSkewMs: 30_000 };

function faultOf(bytes: Buffer, options = now): RecordFault | 'ok' {
  const opened = openRecord(reader.secrets, bytes, options);
  return opened.kind === 'ok' ? 'ok' : opened.reason;
}

/** Seals what sealRecord refuses to: `content` is what a member with the record key could write. */
function sealRaw(content: Buffer, key: Buffer = worker.secrets.recordKey): Buffer {
  const nonce = Buffer.alloc(24, 5);
  const output = Buffer.alloc(content.length + 16);
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(output, content, Buffer.of(1), null, nonce, key);
  return Buffer.concat([Buffer.of(1), nonce, output]);
}

function forge(json: string, options: { signer?: Identity; certBytes?: Buffer } = {}): Buffer {
  const { signer = worker, certBytes = worker.certBytes } = options;
  const signature = Buffer.alloc(64);
  const signed = Buffer.concat([Buffer.from('dht-sidecar record v1\0'), certBytes, Buffer.from(json)]);
  sodium.crypto_sign_detached(signature, signed, signer.secretKey);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(certBytes.length, 0);
  return sealRaw(Buffer.concat([length, certBytes, signature, Buffer.from(json)]));
}

const jsonOf = (changes: Partial<WorkerRecord>) => JSON.stringify(recordOf(worker, changes));

describe('a sealed record', () => {
  test('a member reads what a member sealed, by key or by certificate', () => {
    for (const sealer of [worker, certified('worker-gpu-002')]) {
      const record = recordOf(sealer);
      const opened = openRecord(reader.secrets, sealRecord(sealer, record), now);
      expect(opened.kind).toBe('ok');
      expect(opened.kind === 'ok' && opened.record).toStrictEqual(record);
      expect(opened.kind === 'ok' && opened.certificate).toStrictEqual(sealer.certificate);
    }
  });

  test('two seals of one record share no byte run, and nothing of it is readable', () => {
    const [a, b] = [sealRecord(worker, recordOf(worker)), sealRecord(worker, recordOf(worker))];
    expect(a.subarray(1, 33)).not.toStrictEqual(b.subarray(1, 33));
    for (const word of ['worker-gpu', 'llm', '10.42', 'load']) expect(a.indexOf(word)).toBe(-1);
    expect(a.indexOf(worker.publicKey)).toBe(-1);
  });

  test('the forged content of this test opens when nothing is wrong with it', () => {
    expect(faultOf(forge(jsonOf({})))).toBe('ok');
  });

  test('each way of being wrong is refused by its name', () => {
    const sealed = sealRecord(worker, recordOf(worker));
    const otherMesh = member('worker-gpu-001', { meshKey: OTHER_MESH_KEY });
    const expired = certified('worker-gpu-001', { days: 1 });
    const foreignCert = issueCertificate(fromMeshKey(OTHER_MESH_KEY), worker.certificate);
    const cases: [RecordFault, Buffer][] = [
      ['too_large', Buffer.alloc(MAX_SEALED_BYTES + 1, 1)],
      ['malformed', Buffer.alloc(0)],
      ['malformed', sealed.subarray(0, 60)],
      ['malformed', sealRaw(Buffer.alloc(70, 255))],
      ['unknown_version', Buffer.concat([Buffer.of(2), sealed.subarray(1)])],
      ['unknown_version', Buffer.from('{"worker_id":"x"}')],
      ['not_of_this_mesh', sealRecord(otherMesh, recordOf(otherMesh))],
      ['not_of_this_mesh', sealed.subarray(0, -1)],
      ['bad_certificate', forge(jsonOf({}), { certBytes: foreignCert })],
      ['bad_certificate', forge(jsonOf({}), { certBytes: Buffer.alloc(100) })],
      ['bad_signature', forge(jsonOf({}), { signer: reader })],
      ['bad_record', forge('not json')],
      ['bad_record', forge('')],
      ['bad_record', forge('null')],
      ['bad_record', forge('[]')],
      ['bad_record', forge('[['.repeat(5000))],
      ['bad_record', forge(jsonOf({ load: 17 }))],
      ['bad_record', forge(jsonOf({ services: ['a/b'], figures: {} }))],
      ['bad_record', forge(jsonOf({ services: ['a\u0007'], figures: {} }))],
      ['bad_record', forge(jsonOf({ services: ['x'.repeat(10_000)], figures: {} }))],
      ['wrong_worker', forge(jsonOf({ worker_id: 'worker-gpu-666' }))],
      ['wrong_worker', forge(jsonOf({ public_key: reader.keyHex }))],
      ['service_not_certified', forge(jsonOf({ services: ['llm-inference', 'notes-coa'] }))],
      ['clock_skew', sealRecord(worker, recordOf(worker, { last_seen: (NOW_MS - HOUR_MS) / 1000 }))],
      ['clock_skew', sealRecord(worker, recordOf(worker, { last_seen: (NOW_MS + HOUR_MS) / 1000 }))],
    ];
    for (const [reason, bytes] of cases) expect(faultOf(bytes)).toBe(reason);
    const late = { nowMs: NOW_MS + 25 * HOUR_MS, maxSkewMs: 100 * HOUR_MS };
    expect(faultOf(sealRecord(expired, recordOf(expired)), late)).toBe('certificate_not_valid_now');
  });

  test('the clock may differ by the tolerance and no more', () => {
    const sealed = sealRecord(worker, recordOf(worker));
    for (const skewMs of [-30_000, 30_000])
      expect(faultOf(sealed, { ...now, nowMs: NOW_MS + skewMs })).toBe('ok');
    for (const skewMs of [-30_001, 30_001, Number.NaN]) {
      expect(faultOf(sealed, { ...now, nowMs: NOW_MS + skewMs })).not.toBe('ok');
    }
  });

  test('what does not fit a datagram goes: figures first, then capabilities', () => {
    const services = ['llm-inference', 'vision-ocr'];
    const figures = Object.fromEntries(
      services.map((s) => [s, { in_flight: 123_456, concurrency: 8, queued: 0, service_ms: 210.123456789 }]),
    );
    const open = (bytes: Buffer): WorkerRecord => {
      const opened = openRecord(reader.secrets, bytes, now);
      mustHold(opened.kind === 'ok');
      return opened.record;
    };
    const small = recordOf(worker, { services, figures });
    expectNamed(
      open(sealRecord(worker, small, MAX_PUT_BYTES)),
      'an ordinary record fits whole',
    ).toStrictEqual(small);

    const capabilities = { a: 'x'.repeat(200), b: 'y'.repeat(60) };
    const noFigures = sealRecord(
      worker,
      recordOf(worker, { services, figures, capabilities }),
      MAX_PUT_BYTES,
    );
    expect(noFigures.length).toBeLessThanOrEqual(MAX_PUT_BYTES);
    expect(open(noFigures).figures).toStrictEqual({});
    expect(open(noFigures).capabilities).toStrictEqual(capabilities);

    const wide = { a: 'x'.repeat(250), b: 'y'.repeat(250) };
    const bare = sealRecord(
      worker,
      recordOf(worker, { services, figures, capabilities: wide }),
      MAX_PUT_BYTES,
    );
    expect(bare.length).toBeLessThanOrEqual(MAX_PUT_BYTES);
    expect(open(bare).capabilities).toStrictEqual({});
    expect(open(bare).services).toStrictEqual(services);

    const url = `https://${'a'.repeat(60)}.example/${'p'.repeat(400)}`;
    expect(() => sealRecord(worker, recordOf(worker, { tunnel_url: url }), MAX_PUT_BYTES)).toThrow(
      /more than 1000 bytes/,
    );
  });

  test('a worker cannot seal what its certificate does not say, so a mistake shows where it is made', () => {
    expect(() => sealRecord(worker, recordOf(worker, { services: ['notes-coa'] }))).toThrow(
      /does not name notes-coa/,
    );
    expect(() => sealRecord(worker, recordOf(worker, { worker_id: 'x' }))).toThrow(/worker_id/);
    expect(() => sealRecord(worker, recordOf(reader))).toThrow(/public_key/);
  });
});
