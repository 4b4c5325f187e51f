/** What a sidecar tells a peer of itself, and what it takes from such a question. */
import { expect, test } from '@jest/globals';
import { RequestAuth } from '../../sidecar/mesh/membership/request-auth.ts';
import { InboundSide } from '../support/meshes/inbound-side.ts';
import { member } from '../support/meshes/members.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer } from '../support/wire/wire-messages.ts';

test('who fetches the record introduces itself by that, and by no other question', async () => {
  const side = await InboundSide.start();
  onTestEnd(() => side.close());
  const auth = new RequestAuth(member('caller', { nowMs: Date.now(), services: [] }));
  const client = await Wire.connect(side.listener.port);
  onTestEnd(() => client.close());
  const ask = async (target: string): Promise<string> => {
    const signed = { peerKey: side.peer.key, method: 'GET', target, service: '', nowMs: Date.now() };
    const lines = [`sidecar-auth: ${auth.sign(signed).header}`, 'sidecar-inbound: 10.42.0.7:8000'];
    client.send([`GET ${target} HTTP/1.1`, 'Host: b', ...lines, '', ''].join('\r\n'));
    return (await answer(client)).body;
  };
  expect(JSON.parse(await ask('/state'))).toStrictEqual({ state: 'ready' });
  expect(side.introduced).toStrictEqual([]);
  expect(await ask('/record')).toBe('a sealed record');
  expect(side.introduced).toStrictEqual([{ host: '10.42.0.7', port: 8000 }]);
});
