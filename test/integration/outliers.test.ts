/** A worker that answers unlike the others is left out of that service, whatever it answers; and so is the one beside the app. */
import { describe, expect, test } from '@jest/globals';
import { first } from '../../sidecar/core/http/headers.ts';
import { exclusionReason, passedOverReason } from '../../sidecar/core/peers/exclusion-reason.ts';
import { InboundSide, SERVICE } from '../support/meshes/inbound-side.ts';
import { pairFor, type SidecarPair } from '../support/meshes/sidecar-pair.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { answer } from '../support/wire/wire-messages.ts';

const POST = 'POST /service/llm-inference/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const REQUESTS = 60;

function error(status: number): string {
  return `HTTP/1.1 ${status} Wrong\r\nContent-Length: 0\r\n\r\n`;
}

/** How many of the requests each worker answered, and the last half of them. */
async function spread(pair: SidecarPair): Promise<{ all: string[]; late: string[] }> {
  const client = await pair.client();
  const all: string[] = [];
  for (let n = 0; n < REQUESTS; n++) {
    client.send(POST);
    all.push(first((await answer(client, 'POST')).head.fields, 'sidecar-worker') ?? '-');
  }
  return { all, late: [...new Set(all.slice(REQUESTS / 2))].sort() };
}

describe('a worker that answers unlike the others', () => {
  for (const status of [400, 401, 404, 418, 500, 503]) {
    test(`${status} to everything: it is left out, and explained`, async () => {
      const pair = await pairFor({ peers: [{}, {}, {}] });
      for (const side of pair.sides) side.origin.reply = OK;
      pair.b.origin.reply = error(status);
      const { all, late } = await spread(pair);
      expect(late).toStrictEqual(['c', 'd']);
      const lost = all.filter((worker) => worker === 'b').length;
      expectNamed(lost, `${lost} of ${REQUESTS}`).toBeLessThanOrEqual(9);
      expect(exclusionReason(pair.b.peer, SERVICE, performance.now())).toMatch(
        status < 500
          ? /as an outlier of llm-inference: 100 % of its answers are client errors/
          : /^ejected for/,
      );
    });
  }

  test('quick errors do not fill the time until the others have answered', async () => {
    const pair = await pairFor({ peers: [{}, {}] });
    pair.b.origin.reply = error(404);
    const other = pair.sides[1] as InboundSide;
    const arrived = (count: number) =>
      eventually(
        `${count} requests are at the other`,
        () => other.service.admission.inFlight,
        (inFlight) => inFlight === count,
      );
    const ask = async (): Promise<void> => (await pair.client()).send(POST);
    // In turns: one gets its error at once, the other is at work.
    for (let n = 1; n <= 5; n++) {
      await ask();
      await pair.finished.next();
      await ask();
      await arrived(n);
    }
    expect(exclusionReason(pair.b.peer, SERVICE, performance.now())).toMatch(/^set aside for a second/);
    await ask();
    await arrived(6);
    await ask();
    await arrived(7);
  });

  test('all of them answer so: it is the clients’ fault, and nobody is left out', async () => {
    const pair = await pairFor({ peers: [{}, {}, {}] });
    for (const side of pair.sides) side.origin.reply = error(404);
    expect((await spread(pair)).late).toStrictEqual(['b', 'c', 'd']);
  });

  test('the one beside the app loses its requests to the others, and keeps them when it is alone', async () => {
    for (const status of [404, 500]) {
      const local = await InboundSide.start({ name: 'x' });
      onTestEnd(() => local.close());
      local.origin.reply = error(status);
      const pair = await pairFor({ peers: [{}, {}], local: local.service });
      for (const side of pair.sides) side.origin.reply = OK;
      expectNamed((await spread(pair)).late, `${status}`).toStrictEqual(['b', 'c']);
      const { admission, standing } = local.service;
      expect(passedOverReason(standing, SERVICE, admission.inFlight, performance.now())).toMatch(
        status < 500
          ? /as an outlier of llm-inference|set aside for a second/
          : /^ejected for \d+ s more after 5 failures in a row$/,
      );

      local.service.stateChanged();
      expectNamed(local.service.isLeftOut(performance.now()), 'back after it was gone').toBe(false);

      const alone = await pairFor({ peers: [], local: local.service });
      expectNamed((await spread(alone)).late, `${status} alone`).toStrictEqual(['a']);
    }
  });
});
