/** The file of known nodes: what is written is read back, and nothing that is read can do harm. */
import assert from 'node:assert/strict';
import test from 'node:test';
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

test('what is written is read back', () => {
  fc.assert(fc.property(known, (value) => assert.deepEqual(parseKnown(formatKnown(value)), value)));
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
      assert.ok(parsed.nodes.length <= 64 && parsed.peers.length <= 1_024);
      for (const node of parsed.nodes) {
        assert.match(node.host, /^\d+\.\d+\.\d+\.\d+$/);
        assert.ok(node.port > 0 && node.port <= 65_535);
      }
      for (const peer of parsed.peers) {
        assert.match(peer.key, /^[0-9a-f]{64}$/);
        assert.ok(peer.services.length > 0 && peer.services.length <= 64);
      }
      assert.deepEqual(parseKnown(formatKnown(parsed)), parsed);
    }),
    { numRuns: 500 },
  );
});

test('a file cut off anywhere is nothing, never an exception', () => {
  fc.assert(
    fc.property(known, fc.double({ min: 0, max: 0.999, noNaN: true }), (value, share) => {
      const text = formatKnown(value).trimEnd();
      assert.equal(parseKnown(text.slice(0, Math.floor(text.length * share))), null);
    }),
  );
});
