/** Apps with tokens of their own: who has one is served and named to the operator, and the worker learns none. */
import { describe, expect, test } from '@jest/globals';
import { requestStory } from '../../sidecar/commands/request-story.ts';
import { TestMesh } from '../support/meshes/mesh.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { sharedByTests } from '../support/runner/on-test-end.ts';
import { http1Client, http2Client } from '../support/wire/version-clients.ts';
import { startHttpWorker } from '../support/workers/http-worker.ts';

const CHAT = 'a-token-of-chat-1';
const NOTES = 'a-token-of-notes-2';

describe('apps that have tokens of their own', () => {
  const bed = sharedByTests(async () => {
    const mesh = new TestMesh();
    const worker = await startHttpWorker();
    const env = { SIDECAR_OUTBOUND_TOKENS: `chat=${CHAT},notes=${NOTES}` };
    const gpu = await mesh.join({ id: 'gpu', services: { llm: worker.url }, env });
    const cpu = await mesh.join({ id: 'cpu', env });
    await cpu.knows(['gpu']);
    return { worker, gpu, cpu };
  });

  for (const where of ['gpu', 'cpu'] as const) {
    for (const version of ['HTTP/1.1', 'HTTP/2']) {
      test(`an API key over ${version} at ${where} is the token, and the name of its app is told`, async () => {
        const { worker, [where]: member } = bed();
        const { port } = member.running.outbound;
        const client = version === 'HTTP/2' ? http2Client(port) : http1Client(port);
        const path = '/service/llm/v1/models';
        const answer = await client.call({ path, fields: { authorization: `Bearer ${CHAT}` } }).done;
        expectNamed(answer.status, answer.body).toBe(200);
        expect(worker.seen.at(-1)?.headers.authorization).toBe(undefined);
        const id = String(answer.fields['sidecar-request-id']);
        const told = JSON.parse((await member.admin(`/explain?request=${id}`)).body) as { app: string };
        expect(told.app).toBe('chat');
        expect(requestStory(told as unknown as Record<string, unknown>)).toMatch(/^app +chat$/m);
      });
    }
  }

  test('they are counted by name, those that have not asked yet too, and no token is shown anywhere', async () => {
    const { gpu } = bed();
    await gpu.call({ target: '/service/llm/', headers: { 'sidecar-token': NOTES } });
    const refused = await gpu.call({ target: '/service/llm/', headers: { authorization: 'Bearer chat' } });
    expect(refused.status).toBe(401);
    const page = (await gpu.admin('/metrics')).body;
    expect(page).toMatch(/^sidecar_app_requests_total\{app="notes",outcome="ok"\} 1$/m);
    expect(page).toMatch(/^sidecar_app_requests_total\{app="chat",outcome="failed"\} 0$/m);
    const shown = [page, refused.body, JSON.stringify(gpu.log), (await gpu.admin('/')).body].join('\n');
    for (const token of [CHAT, NOTES]) expectNamed(shown.includes(token), token).toBe(false);
  });
});
