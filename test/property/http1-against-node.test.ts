/**
 * A differential test: whatever we accept, Node's own parser reads to the same message and the same end.
 * Node gets the bytes up to the end that we saw: one byte more or less and it would refuse, or wait.
 */
import { METHODS } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { twistedAnswer, twistedRequest } from '../support/generators/http-bytes.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { nodeReadsAnswer, nodeReadsRequests } from '../support/wire/node-http.ts';
import { readAnswer, readRequests } from '../support/wire/whole-messages.ts';

const RUNS = 3000;

describe("our HTTP/1.1 parser beside Node's", () => {
  test('every request that we accept, Node reads in the same way, up to the next request', async () => {
    let accepted = 0;
    let followed = 0;
    await fc.assert(
      fc.asyncProperty(twistedRequest, async (bytes) => {
        const all = readRequests(bytes);
        // Node knows a fixed list of methods; any token is one to us, and to RFC 9110.
        const unknown = all.findIndex(({ head }) => !METHODS.includes(head.method));
        const ours = unknown === -1 ? all : all.slice(0, unknown);
        if (ours.length === 0) return;
        accepted++;
        if (ours.length === 2) followed++;
        const { messages, refused } = await nodeReadsRequests(bytes.subarray(0, ours.at(-1)?.end));
        expect(refused).toBe(null);
        expect(messages).toStrictEqual(
          ours.map(({ head, body, trailers }) => ({
            start: `${head.method} ${head.target}`,
            rawHeaders: head.fields,
            body,
            trailers,
          })),
        );
      }),
      { numRuns: RUNS },
    );
    expectNamed(accepted, `only ${accepted} of ${RUNS} accepted: the test shows little`).toBeGreaterThan(
      RUNS / 20,
    );
    expectNamed(followed, `only ${followed} of ${RUNS} were read to the next request`).toBeGreaterThan(
      RUNS / 40,
    );
  });

  test('every response that we accept, a Node client reads in the same way', async () => {
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(twistedAnswer, fc.constantFrom('GET', 'HEAD'), async (bytes, method) => {
        const ours = readAnswer(bytes, method);
        if (ours === null) return;
        accepted++;
        const { messages, refused } = await nodeReadsAnswer(bytes.subarray(0, ours.end), method);
        expect(refused).toBe(null);
        expect(messages).toStrictEqual([
          {
            start: `${ours.head.status} ${ours.head.reason}`,
            rawHeaders: ours.head.fields,
            body: ours.body,
            trailers: ours.trailers,
          },
        ]);
      }),
      { numRuns: RUNS },
    );
    expectNamed(accepted, `only ${accepted} of ${RUNS} accepted: the test shows little`).toBeGreaterThan(
      RUNS / 20,
    );
  });
});
