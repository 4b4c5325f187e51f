/** Records: what is believed, what is refused and with which words. */
import { describe, expect, test } from '@jest/globals';
import {
  decodeRecord,
  encodeRecord,
  RECORD_LIMITS,
  type WorkerRecord,
} from '../../sidecar/core/peers/record.ts';
import { figures, recordOf, SERVICE } from '../support/meshes/peers.ts';

const honest = recordOf(1, {
  tunnel_url: 'https://w1.example/base',
  services: [SERVICE, 'vision-ocr'],
  capabilities: { has_gpu: true, gpu_type: 'RTX 4090', memory_gb: 24 },
  load: 0.35,
  figures: { [SERVICE]: { in_flight: 1, concurrency: 4, queued: 0, service_ms: 812.5 } },
});

const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `s${n}`);
const entries = (count: number) => Object.fromEntries(names(count).map((name) => [name, 1]));

function reasonOf(changes: Record<string, unknown>): string {
  const decoded = decodeRecord({ ...honest, ...changes });
  return decoded.kind === 'bad' ? decoded.reason : 'believed';
}

describe("a worker's record", () => {
  test('a record survives the way through JSON', () => {
    const decoded = decodeRecord(JSON.parse(encodeRecord(honest)));
    expect(decoded).toStrictEqual({ kind: 'ok', record: honest });
  });

  test('the same record is always the same text, whatever the order of its keys', () => {
    const shuffled = Object.fromEntries(Object.entries(honest).reverse()) as unknown as WorkerRecord;
    expect(encodeRecord(shuffled)).toBe(encodeRecord(honest));
  });

  test("the document's own record needs no more than the wire's fields", () => {
    const { capabilities: _c, figures: _f, tunnel_url: _t, vpn_ip: _v, inbound_port: _i, ...least } = honest;
    const decoded = decodeRecord(least);
    expect(decoded.kind).toBe('ok');
    if (decoded.kind !== 'ok') return;
    expect(decoded.record.figures).toStrictEqual({});
    expect(decoded.record.vpn_ip).toBe(null);
  });

  test('unknown keys are dropped, and the response shares nothing with the input', () => {
    const services = [SERVICE];
    const decoded = decodeRecord({ ...honest, services, figures: {}, future: { a: 1 } });
    expect(decoded.kind).toBe('ok');
    services.push('/etc');
    if (decoded.kind !== 'ok') return;
    expect(decoded.record.services).toStrictEqual([SERVICE]);
    expect('future' in decoded.record).toBe(false);
  });

  const hostile: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
    ['a worker_id with a line end', { worker_id: 'a\r\nset-cookie: x' }, /^worker_id/],
    ['an empty worker_id', { worker_id: '' }, /^worker_id/],
    ['a long worker_id', { worker_id: 'x'.repeat(129) }, /^worker_id/],
    ['a service name with a slash', { services: ['a/b'] }, /^services/],
    ['a service name of 10 kB', { services: ['a'.repeat(10_000)] }, /^services/],
    ['a service name with a control character', { services: ['a\u0000'] }, /^services/],
    ['a service named twice', { services: [SERVICE, SERVICE] }, /named twice/],
    ['too many services', { services: Array.from({ length: 65 }, (_, i) => `s${i}`) }, /more than 64/],
    ['services that are no list', { services: { length: 1, 0: SERVICE } }, /not a list/],
    ['a tunnel by http', { tunnel_url: 'http://w1.example' }, /^tunnel_url/],
    ['a tunnel with credentials', { tunnel_url: 'https://a:b@w1.example' }, /^tunnel_url/],
    ['a tunnel with a user', { tunnel_url: 'https://a@w1.example' }, /^tunnel_url/],
    ['a tunnel with a password', { tunnel_url: 'https://:b@w1.example' }, /^tunnel_url/],
    ['a tunnel with a fragment', { tunnel_url: 'https://w1.example/#x' }, /^tunnel_url/],
    ['a tunnel with a backslash', { tunnel_url: 'https://w1.example\\@evil.example' }, /^tunnel_url/],
    ['a tunnel to nowhere', { tunnel_url: 'https://' }, /^tunnel_url/],
    ['a tunnel with a query', { tunnel_url: 'https://w1.example/?x' }, /^tunnel_url/],
    ['a tunnel with a tab in it', { tunnel_url: 'https://w1.exa\tmple' }, /^tunnel_url/],
    ['a tunnel of javascript', { tunnel_url: 'javascript:alert(1)' }, /^tunnel_url/],
    ['an endless tunnel', { tunnel_url: `https://w1.example/${'a'.repeat(600)}` }, /^tunnel_url/],
    ['an address in octal', { vpn_ip: '010.42.0.1' }, /^vpn_ip/],
    ['a name as address', { vpn_ip: 'localhost' }, /^vpn_ip/],
    ['the unspecified address', { vpn_ip: '0.0.0.0' }, /^vpn_ip/],
    ['a multicast group', { vpn_ip: '239.1.1.1' }, /^vpn_ip/],
    ['the unspecified IPv6 address', { vpn_ip: '::' }, /^vpn_ip/],
    ['port 0', { inbound_port: 0 }, /^inbound_port/],
    ['a port too high', { inbound_port: 65_536 }, /^inbound_port/],
    ['an address without a port', { inbound_port: null }, /one without the other/],
    ['a negative load', { load: -0.1 }, /^load/],
    ['a load of Infinity', { load: Number.POSITIVE_INFINITY }, /^load/],
    ['a load of NaN', { load: Number.NaN }, /^load/],
    ['a load as text', { load: '0.1' }, /^load/],
    ['a broken epoch', { epoch: 1.5 }, /^epoch/],
    ['an epoch beyond time', { epoch: 1e16 }, /^epoch/],
    ['a negative seq', { seq: -1 }, /^seq/],
    ['a short key', { public_key: 'ab' }, /^public_key/],
    ['a key in capitals', { public_key: 'AB'.repeat(32) }, /^public_key/],
    ['a state of its own', { state: 'great' }, /^state/],
    ['a capability called __proto__', { capabilities: JSON.parse('{"__proto__": 1}') }, /^capabilities/],
    ['a capability with an escape', { capabilities: { gpu: '\u001b[2J' } }, /control characters/],
    ['a capability that turns text around', { capabilities: { gpu: 'a\u202eb' } }, /control characters/],
    ['a capability that is an object', { capabilities: { gpu: {} } }, /^capabilities/],
    ['a long capability', { capabilities: { gpu: 'x'.repeat(257) } }, /too long/],
    ['figures of a service that it has not', { figures: { other: {} } }, /not offered/],
    ['figures of constructor', { figures: { constructor: {} } }, /not offered/],
    [
      'half a request',
      { figures: { [SERVICE]: { in_flight: 0.5, concurrency: 1, queued: 0, service_ms: 1 } } },
      /in_flight/,
    ],
    [
      'no service time',
      { figures: { [SERVICE]: { in_flight: 0, concurrency: 1, queued: 0 } } },
      /service_ms/,
    ],
  ];

  for (const [name, changes, reason] of hostile) {
    test(`refused: ${name}`, () => expect(reasonOf(changes)).toMatch(reason));
  }

  test('refused: what is no object', () => {
    for (const value of [null, undefined, 1, 'x', [], true]) expect(decodeRecord(value).kind).toBe('bad');
  });

  const LIMITS: readonly (readonly [string, (most: number) => Record<string, unknown>, number])[] = [
    ['characters of a worker_id', (most) => ({ worker_id: 'x'.repeat(most) }), RECORD_LIMITS.workerIdChars],
    ['services', (most) => ({ services: names(most), figures: {} }), RECORD_LIMITS.services],
    ['capabilities', (most) => ({ capabilities: entries(most) }), RECORD_LIMITS.capabilities],
    [
      'characters of a capability',
      (n) => ({ capabilities: { a: 'x'.repeat(n) } }),
      RECORD_LIMITS.capabilityValueChars,
    ],
    [
      'characters of its name',
      (n) => ({ capabilities: { ['a'.repeat(n)]: 1 } }),
      RECORD_LIMITS.capabilityKeyChars,
    ],
    [
      'characters of a tunnel',
      (n) => ({ tunnel_url: 'https://w/'.padEnd(n, 'a') }),
      RECORD_LIMITS.tunnelUrlChars,
    ],
    ['the port', (most) => ({ inbound_port: most }), 65_535],
    ['the epoch', (most) => ({ epoch: most }), RECORD_LIMITS.epochMs],
    ['requests', (most) => ({ figures: figures({ in_flight: most }) }), RECORD_LIMITS.requests],
    ['waiting requests', (most) => ({ figures: figures({ queued: most }) }), RECORD_LIMITS.requests],
    ['slots', (most) => ({ figures: figures({ concurrency: most }) }), RECORD_LIMITS.requests],
    ['the service time', (most) => ({ figures: figures({ service_ms: most }) }), RECORD_LIMITS.serviceMs],
    ['the load', (most) => ({ load: most }), 1],
  ];
  for (const [name, changes, most] of LIMITS) {
    test(`at most so much is believed: ${name}`, () => {
      expect(reasonOf(changes(most))).toBe('believed');
      expect(reasonOf(changes(most + 1))).not.toBe('believed');
    });
  }

  test('believed: addresses of both families', () => {
    for (const ip of ['127.0.0.2', '10.42.0.10', 'fd00::1', '::1'])
      expect(reasonOf({ vpn_ip: ip })).toBe('believed');
  });

  test('refused: addresses of no host, believed: their neighbours', () => {
    for (const ip of ['223.255.255.255', '1.0.0.0', 'fe80::1', '::2']) {
      expect(reasonOf({ vpn_ip: ip })).toBe('believed');
    }
    for (const ip of [
      '224.0.0.0',
      '0.0.0.1',
      '255.255.255.255',
      'ff02::1',
      'FF02::1',
      '0:0::0',
      'fe80::1%eth0',
    ]) {
      expect(reasonOf({ vpn_ip: ip })).toMatch(/^vpn_ip/);
    }
  });
});
