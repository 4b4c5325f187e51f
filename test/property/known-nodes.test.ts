/** The file of known nodes: what is written is read back, and nothing that is read can do harm. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatKnown, type Known, parseKnown } from '../../sidecar/mesh/discovery/known-nodes.ts';

const port = fc.integer({ min: 1, max: 65_535 });
const ip = fc.ipV4();
const plain = { noNullPrototype: true } as const;
const address = fc.record({ host: ip, port }, plain);
const hex = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const service = fc.stringMatching(/^[a-z0-9](?:[a-z0-9._-]{0,20}[a-z0-9])?$/);
const known: fc.Arbitrary<Known> = fc.record(
  {
    ownPort: fc.option(port),
    nodes: fc.array(address, { maxLength: 64 }),
    peers: fc.array(
      fc.record(
        {
          key: hex,
          services: fc.array(service, { minLength: 1, maxLength: 5 }),
          address: fc.option(address),
          tunnelUrl: fc.option(fc.constantFrom('https://a.example', 'https://b.example:8443/base')),
        },
        plain,
      ),
      { maxLength: 20 },
    ),
  },
  plain,
);

describe('any file of known nodes', () => {
  test('what is written is read back', () => {
    fc.assert(fc.property(known, (value) => expect(parseKnown(formatKnown(value))).toStrictEqual(value)));
  });

  test('any text and any JSON is read as nothing or as bounded, well-formed addresses', () => {
    const anyText = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record({
          version: fc.constant(1),
          own_port: fc.anything(),
          nodes: fc.anything(),
          peers: fc.anything(),
        })
        .map((value) => JSON.stringify(value) ?? ''),
      fc
        .tuple(
          fc.array(fc.record({ host: fc.oneof(ip, fc.string()), port: fc.oneof(port, fc.anything()) })),
          fc.array(
            fc.record({ key: fc.oneof(hex, fc.string()), services: fc.anything(), address: fc.anything() }),
          ),
        )
        .map(([nodes, peers]) => JSON.stringify({ version: 1, nodes, peers })),
    );
    fc.assert(
      fc.property(anyText, (text) => {
        const parsed = parseKnown(text);
        if (parsed === null) return;
        expect(parsed.nodes.length).toBeLessThanOrEqual(64);
        expect(parsed.peers.length).toBeLessThanOrEqual(1_024);
        for (const node of parsed.nodes) {
          expect(node.host).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
          expect(node.port).toBeGreaterThan(0);
          expect(node.port).toBeLessThanOrEqual(65_535);
        }
        for (const peer of parsed.peers) {
          expect(peer.key).toMatch(/^[0-9a-f]{64}$/);
          expect(peer.services.length).toBeGreaterThan(0);
          expect(peer.services.length).toBeLessThanOrEqual(64);
        }
        expect(parseKnown(formatKnown(parsed))).toStrictEqual(parsed);
      }),
      { numRuns: 500 },
    );
  });

  test('a file cut off anywhere is nothing, never an exception', () => {
    fc.assert(
      fc.property(known, fc.double({ min: 0, max: 0.999, noNaN: true }), (value, share) => {
        const text = formatKnown(value).trimEnd();
        expect(parseKnown(text.slice(0, Math.floor(text.length * share)))).toBe(null);
      }),
    );
  });
});
