import assert from 'node:assert/strict';
import test from 'node:test';
import { type ForwardedFacts, forwardedHeaders } from '../../sidecar/core/forwarding/forwarded.ts';

const FORGED = [
  'Forwarded',
  'for=1.1.1.1',
  'X-Forwarded-For',
  '1.1.1.1',
  'A',
  'b',
  'x-forwarded-proto',
  'https',
];
const FACTS: ForwardedFacts = {
  fields: [...FORGED, 'X-FORWARDED-HOST', 'first.example', 'X-Forwarded-For', '2.2.2.2'],
  clientIp: '10.0.0.7',
  proto: 'http',
  host: 'llm.mesh:8010',
  by: 'worker/1',
  trusted: false,
};

test('a stranger is not believed: all four fields are our own', () => {
  assert.deepEqual(forwardedHeaders(FACTS), [
    ...['A', 'b', 'Forwarded', 'for=10.0.0.7;by=_worker-1;host="llm.mesh:8010";proto=http'],
    ...['X-Forwarded-For', '10.0.0.7', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', 'llm.mesh:8010'],
  ]);
});

test('a trusted hop is believed: the chain grows, the first hop stays', () => {
  assert.deepEqual(forwardedHeaders({ ...FACTS, trusted: true }), [
    ...['A', 'b', 'Forwarded', 'for=1.1.1.1, for=10.0.0.7;by=_worker-1;host="llm.mesh:8010";proto=http'],
    ...['X-Forwarded-For', '1.1.1.1, 2.2.2.2, 10.0.0.7', 'X-Forwarded-Proto', 'https'],
    ...['X-Forwarded-Host', 'first.example'],
  ]);
});

test('trusted, with nothing said before', () => {
  assert.deepEqual(forwardedHeaders({ ...FACTS, fields: [], trusted: true, host: 'a' }), [
    ...['Forwarded', 'for=10.0.0.7;by=_worker-1;host=a;proto=http'],
    ...['X-Forwarded-For', '10.0.0.7', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', 'a'],
  ]);
});

test('IPv6 is bracketed and quoted, zones and the IPv4 prefix go', () => {
  const node = (clientIp: string): string | undefined =>
    forwardedHeaders({ ...FACTS, fields: [], clientIp })[1];
  assert.match(node('fe80::1%eth0') ?? '', /^for="\[fe80::1\]";/);
  assert.match(node('::ffff:10.0.0.7') ?? '', /^for=10\.0\.0\.7;/);
  assert.match(node('') ?? '', /^for=unknown;/);
});

test('without a host none is told', () => {
  const fields = forwardedHeaders({ ...FACTS, fields: [], host: '' });
  assert.deepEqual(fields.slice(0, 2), ['Forwarded', 'for=10.0.0.7;by=_worker-1;proto=http']);
  assert.equal(fields.includes('X-Forwarded-Host'), false);
});
