/** Addressing: the ways to name a service all reach it, and the worker gets the rest byte for byte. */

import { describe, expect, test } from '@jest/globals';
import { TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import type { Sent } from '../support/wire/http-client.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

/** What a client library would tidy up. */
const REST = '/v1//a%2Fb/./c;x=1?q=%20+&q=%C3%A9&empty=';

const FORMS: readonly (readonly [string, Sent])[] = [
  ['the path', { target: `/service/llm-inference${REST}` }],
  ['the path with an alias', { target: `/service/llm${REST}` }],
  ['the host', { target: REST, headers: { host: 'llm-inference.mesh' } }],
  ['the host with an alias and a port', { target: REST, headers: { host: 'LLM.mesh:80' } }],
  [
    'the absolute form',
    { target: `http://llm-inference.mesh${REST}`, headers: { host: 'llm-inference.mesh' } },
  ],
  [
    'the absolute form over another host',
    { target: `http://llm.mesh${REST}`, headers: { host: 'example.org' } },
  ],
  ['the header', { target: REST, headers: { 'sidecar-service': 'llm-inference' } }],
  ['the header with an alias', { target: REST, headers: { 'sidecar-service': 'llm' } }],
];

const UNKNOWN: readonly (readonly [string, Sent])[] = [
  ['no service', { target: '/v1/chat' }],
  ['no service name', { target: '/service/Not_A Name'.replace(' ', '%20') }],
  ['another site', { target: 'http://example.org/service/llm-inference/', headers: { host: 'example.org' } }],
];

describe('addressing a service', () => {
  const bed = sharedByTests(async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const gpu = await mesh.join({
      id: 'worker-gpu-001',
      // A base path is put before what the app asks for.
      services: { 'llm-inference': { url: `${worker.url}/base`, aliases: ['llm'] } },
    });
    const cpu = await mesh.join({ id: 'worker-cpu-001', env: { SIDECAR_ALIASES: 'llm=llm-inference' } });
    return { worker, members: { 'at a peer': cpu, 'beside the app': gpu } };
  });

  for (const where of ['at a peer', 'beside the app'] as const) {
    for (const [name, sent] of FORMS) {
      test(`${name} reaches a service ${where}, with its path unchanged`, async () => {
        const { worker, members } = bed();
        const answer = await members[where].call({ ...sent, method: 'POST', body: 'hello' });
        expectNamed(answer.status, answer.body).toBe(200);
        expect(answer.headers['sidecar-route']).toBe(where === 'beside the app' ? 'local' : 'vpn');
        const seen = worker.seen.at(-1);
        expect(seen?.method).toBe('POST');
        expect(seen?.target).toBe(`/base${REST}`);
        expect(seen?.body).toBe('hello');
        expect(`http://${seen?.headers.host}`).toBe(worker.url);
        for (const field of Object.keys(seen?.headers ?? {})) expect(field).not.toMatch(/^sidecar-/);
      });
    }

    for (const [name, sent] of UNKNOWN) {
      test(`${name} is answered 404 where the service is ${where}`, async () => {
        const { worker, members } = bed();
        const before = worker.seen.length;
        const answer = await members[where].call(sent);
        expectNamed(answer.status, answer.body).toBe(404);
        expect(answer.headers['content-type']).toBe('application/problem+json');
        expect((JSON.parse(answer.body) as { code: string }).code).toBe('unknown_service');
        expect(worker.seen).toHaveLength(before);
      });
    }
  }
});
