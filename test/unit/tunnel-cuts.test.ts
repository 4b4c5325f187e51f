/** Which failed attempts of a request speak against tunnels for its service. */
import { expect, test } from '@jest/globals';
import { Ttfb } from '../../sidecar/core/peers/ttfb.ts';
import { kindOf, type Tried } from '../../sidecar/proxy/outbound/attempt-trace.ts';
import { RequestReport } from '../../sidecar/proxy/outbound/report.ts';
import type { OutboundRequest } from '../../sidecar/proxy/outbound/request.ts';
import { peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const FIRST_BYTE_MS = 100_000;

test('only what a tunnel cuts off, as no response began, makes its service too slow for tunnels', () => {
  const record = recordOf(1, { tunnel_url: 'https://w1.example' });
  const peer = peerOf(tableOf([record]), 1);
  const by = (kind: 'vpn' | 'tunnel'): Tried => {
    const route = peer.routes.find((each) => each.kind === kind);
    mustHold(route !== undefined);
    return { kind: 'peer', peer, route };
  };
  for (const [tried, code, isCut] of [
    [by('tunnel'), 'response_timeout', true],
    [by('tunnel'), 'connect_failed', false],
    [by('tunnel'), 'saturated', false],
    [by('vpn'), 'response_timeout', false],
  ] as const) {
    const ttfb = new Ttfb();
    const request = { service: SERVICE, sinceMs: performance.now(), arrivedAtMs: Date.now() };
    const report = new RequestReport(request as unknown as OutboundRequest, {
      workerId: 'app',
      pseudonym: 'app-outbound',
      tunnelLimits: { maxBodyBytes: 1_000, firstByteMs: FIRST_BYTE_MS },
      ttfb,
      observer: { requestRouted: () => {}, requestFinished: () => {} },
    });
    report.failed(tried, { kind: 'failed', code, stage: 'sent', detail: 'it broke' }, performance.now());
    const isSlow = ttfb.expectedMs(SERVICE, performance.now()) > FIRST_BYTE_MS;
    expectNamed(isSlow, `${code} by ${kindOf(tried)}`).toBe(isCut);
    expect(report.attempts).toHaveLength(1);
  }
});
