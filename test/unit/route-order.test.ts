/** Which route a request takes first, while some are down. */
import { expect, test } from '@jest/globals';
import { firstRoute } from '../../sidecar/core/peers/route-order.ts';
import { peerOf, recordOf, tableOf } from '../support/meshes/peers.ts';
import { mustHold } from '../support/runner/expectations.ts';

/** A request tries a route again so long after its first failure. */
const AGAIN_MS = 30_000;

test('the first that is up or due, and the first of all where none is', () => {
  const { routes } = peerOf(tableOf([recordOf(1, { tunnel_url: 'https://w1.example' })]), 1);
  const first = (nowMs: number): string | undefined => firstRoute(routes, nowMs)?.kind;
  expect(routes.map(({ kind }) => kind)).toStrictEqual(['vpn', 'tunnel']);
  const [vpn, tunnel] = routes;
  mustHold(vpn !== undefined && tunnel !== undefined);
  expect(first(0)).toBe('vpn');
  vpn.health.failed(0);
  expect(first(AGAIN_MS - 1)).toBe('tunnel');
  expect(first(AGAIN_MS)).toBe('vpn');
  tunnel.health.failed(1);
  expect(first(2)).toBe('vpn');
  expect(firstRoute([], 0)).toBe(undefined);
});
