import { describe, expect, test } from '@jest/globals';
import { ForwardedChain, type ForwardedFacts } from '../../sidecar/core/forwarding/forwarded.ts';

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
const FACTS: ForwardedFacts & { readonly fields: readonly string[] } = {
  fields: [...FORGED, 'X-FORWARDED-HOST', 'first.example', 'X-Forwarded-For', '2.2.2.2'],
  clientIp: '10.0.0.7',
  proto: 'http',
  host: 'llm.mesh:8010',
  by: 'worker/1',
  trusted: false,
};

/** All fields of a request after this hop. */
function forwardedHeaders({ fields, ...facts }: typeof FACTS): string[] {
  const chain = new ForwardedChain();
  const kept: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const [name = '', value = ''] = fields.slice(i, i + 2);
    if (!chain.take(name, value)) kept.push(name, value);
  }
  chain.pushTo(kept, facts);
  return kept;
}

describe('the forwarding fields', () => {
  test('a stranger is not believed: all four fields are our own', () => {
    expect(forwardedHeaders(FACTS)).toStrictEqual([
      ...['A', 'b', 'Forwarded', 'for=10.0.0.7;by=_worker-1;host="llm.mesh:8010";proto=http'],
      ...['X-Forwarded-For', '10.0.0.7', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', 'llm.mesh:8010'],
    ]);
  });

  test('a trusted hop is believed: the chain grows, the first hop stays', () => {
    expect(forwardedHeaders({ ...FACTS, trusted: true })).toStrictEqual([
      ...['A', 'b', 'Forwarded', 'for=1.1.1.1, for=10.0.0.7;by=_worker-1;host="llm.mesh:8010";proto=http'],
      ...['X-Forwarded-For', '1.1.1.1, 2.2.2.2, 10.0.0.7', 'X-Forwarded-Proto', 'https'],
      ...['X-Forwarded-Host', 'first.example'],
    ]);
  });

  test('a trusted hop that says nothing leaves our own fields', () => {
    expect(forwardedHeaders({ ...FACTS, fields: [], trusted: true, host: 'a' })).toStrictEqual([
      ...['Forwarded', 'for=10.0.0.7;by=_worker-1;host=a;proto=http'],
      ...['X-Forwarded-For', '10.0.0.7', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', 'a'],
    ]);
  });

  test('IPv6 is bracketed and quoted, zones and the IPv4 prefix go', () => {
    const node = (clientIp: string): string | undefined =>
      forwardedHeaders({ ...FACTS, fields: [], clientIp })[1];
    expect(node('fe80::1%eth0') ?? '').toMatch(/^for="\[fe80::1\]";/);
    expect(node('::ffff:10.0.0.7') ?? '').toMatch(/^for=10\.0\.0\.7;/);
    expect(node('') ?? '').toMatch(/^for=unknown;/);
  });

  test('the words for one client, host and hop are not those for another', () => {
    for (const change of [
      { clientIp: '10.0.0.8' },
      { host: 'b' },
      { by: 'worker/2' },
      { proto: 'https' },
    ] as const) {
      const [, before] = forwardedHeaders({ ...FACTS, fields: [] });
      const [, after] = forwardedHeaders({ ...FACTS, fields: [], ...change });
      expect(after).not.toBe(before);
      expect(forwardedHeaders({ ...FACTS, fields: [] })[1]).toBe(before);
    }
  });

  test('without a host none is told', () => {
    const fields = forwardedHeaders({ ...FACTS, fields: [], host: '' });
    expect(fields.slice(0, 2)).toStrictEqual(['Forwarded', 'for=10.0.0.7;by=_worker-1;proto=http']);
    expect(fields.includes('X-Forwarded-Host')).toBe(false);
  });
});
