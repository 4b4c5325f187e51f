/** What a worker was told of how the app called decides which of its URLs are its own. */
import { expect, test } from '@jest/globals';
import type { OutgoingHead } from '../../sidecar/http/exchange.ts';
import { forApp } from '../../sidecar/proxy/worker/worker-hop.ts';
import type { WorkerInstance } from '../../sidecar/proxy/worker/worker-instance.ts';

const WORKER: Pick<WorkerInstance, 'basePath' | 'host' | 'scheme' | 'sentHost'> = {
  basePath: '',
  host: '127.0.0.1:9000',
  scheme: 'http',
  sentHost: { kind: 'worker' },
};

/** Where an app that called so is sent by this Location. */
function sentTo(location: string, ...told: string[]): string | undefined {
  const fields = ['X-Forwarded-Host', 'mesh.example', 'X-Forwarded-Prefix', '/service/llm', ...told];
  const sent: OutgoingHead = {
    method: 'GET',
    target: '/',
    host: WORKER.host,
    fields,
    body: { kind: 'none' },
    upgrade: null,
  };
  return forApp(WORKER, sent, ['Location', location])[1];
}

test('an https URL is its own where the app called by https, and another site else', () => {
  const mapped = '/service/llm/items';
  const https = 'https://mesh.example/items';
  expect(sentTo(https, 'X-Forwarded-Proto', 'https')).toBe(mapped);
  expect(sentTo(https, 'X-Forwarded-Proto', 'http')).toBe(https);
  expect(sentTo(https)).toBe(https);
  for (const proto of ['http', 'https'])
    expect(sentTo('http://mesh.example/items', 'X-Forwarded-Proto', proto)).toBe(mapped);
});
