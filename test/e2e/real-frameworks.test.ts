/**
 * Real applications on both sides: servers of FastAPI, Jupyter and MCP behind two sidecars, and the clients that people
 * use before them. What they assume of HTTP is not what a test of our own would think of.
 */
import { createServer } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import OpenAI from 'openai';
import { formatHostPort } from '../../sidecar/core/host-port.ts';
import { MeshProcesses } from '../support/meshes/mesh-processes.ts';
import type { SidecarProcess } from '../support/meshes/sidecar-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd, sharedByTests } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';
import { type HttpWorkerOptions, startHttpWorker } from '../support/workers/http-worker.ts';
import { type McpWorker, startMcpWorker } from '../support/workers/mcp-worker.ts';
import { missingPython, startPython } from '../support/workers/python-server.ts';

const fastapiReason = missingPython('fastapi', 'uvicorn', 'websockets');
const jupyterReason = missingPython('jupyter_server', 'ipykernel');

interface Mesh {
  readonly app: SidecarProcess;
  readonly otherApp: SidecarProcess;
  readonly mcp: readonly McpWorker[];
}

/** What is missing on this machine is not offered. */
async function start(): Promise<Mesh> {
  const mesh = await MeshProcesses.up();
  const [web, notebook] = await Promise.all([
    fastapiReason === null ? startPython('fastapi_app.py') : null,
    jupyterReason === null ? startJupyter() : null,
  ]);
  const mcp = [await startMcpWorker('w1'), await startMcpWorker('w2')];
  const llm = await startHttpWorker({ answer: completions });
  const services = {
    tools: String(mcp[0]?.url),
    llm: llm.url,
    ...(web === null ? {} : { web }),
    ...(notebook === null ? {} : { notebook: { url: notebook, health: { path: '/api/status' } } }),
  };
  const [app, otherApp] = await Promise.all([
    mesh.start({ id: 'app' }),
    mesh.start({ id: 'other-app' }),
    mesh.sidecar({ id: 'w1', services }),
    mesh.sidecar({ id: 'w2', services: { tools: String(mcp[1]?.url) } }),
  ]);
  for (const each of [app, otherApp]) {
    await eventually(
      `${each.id} knows both workers`,
      async () => {
        await each.get('tools');
        return await each.peers();
      },
      (peers) =>
        peers.filter(({ state, worker_id: id }) => state === 'ready' && /^w\d$/.test(id)).length === 2,
    );
  }
  return { app, otherApp, mcp };
}

/** It takes the next port if another program was quicker. */
async function startJupyter(): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const { port } = probe.address() as { readonly port: number };
  await new Promise((resolve) => probe.close(resolve));
  const said = [
    'token=',
    'password=',
    `port=${port}`,
    'ip=127.0.0.1',
    'open_browser=False',
    'disable_check_xsrf=True',
  ];
  return startPython('-m', 'jupyter_server', '--allow-root', ...said.map((each) => `--ServerApp.${each}`));
}

const completions: NonNullable<HttpWorkerOptions['answer']> = ({ body, target }, response) => {
  if (target !== '/v1/chat/completions') return void response.writeHead(404).end();
  const { model, stream } = JSON.parse(body) as { readonly model: string; readonly stream?: boolean };
  if (model !== 'tiny') {
    const error = {
      message: `The model ${model} does not exist`,
      type: 'invalid_request_error',
      code: 'model_not_found',
    };
    response.writeHead(404, { 'content-type': 'application/json' });
    return void response.end(JSON.stringify({ error }));
  }
  mustHold(stream === true);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const content of ['to', 'ken', 's']) {
    const chunk = {
      id: '1',
      object: 'chat.completion.chunk',
      model,
      created: 1,
      choices: [{ index: 0, delta: { content } }],
    };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  }
  response.end('data: [DONE]\n\n');
};

describe('real frameworks behind the mesh', () => {
  const mesh = sharedByTests(start);

  function base(service: string, by: SidecarProcess = mesh().app): string {
    return `http://${formatHostPort(by.address.outbound)}/service/${service}`;
  }

  testUnless(fastapiReason)('FastAPI: redirects and links lead back to the prefix', async () => {
    const url = base('web');
    const slash = await fetch(`${url}/items`, { method: 'POST', body: 'kept' });
    expect([slash.status, slash.url]).toStrictEqual([200, `${url}/items/`]);
    const { body, here } = (await slash.json()) as { readonly body: string; readonly here: string };
    expect([body, new URL(here).pathname]).toStrictEqual(['kept', '/service/web/items/']);
    const led = await fetch(`${url}/start`);
    expect([led.status, led.url]).toStrictEqual([200, `${url}/items-of-mine`]);
    expect(await led.json()).toMatchObject({ root: '/service/web' });
    const docs = await (await fetch(`${url}/docs`)).text();
    const schema = /url: '([^']+)'/.exec(docs)?.[1];
    expect(schema).toBe('/service/web/openapi.json');
    const served = await fetch(new URL(String(schema), url));
    expect(Object.keys(((await served.json()) as { paths: object }).paths)).toContain('/items/');
  });

  testUnless(fastapiReason)(
    'FastAPI: a login by cookie holds under the prefix, also in a WebSocket',
    async () => {
      const url = base('web');
      expect((await fetch(`${url}/me`)).status).toBe(401);
      const login = await fetch(`${url}/login`, { method: 'POST' });
      const [cookie] = login.headers.getSetCookie();
      expect(cookie).toMatch(/^user=ada;.*Path=\/service\/web\//i);
      const headers = { cookie: String(cookie).split(';')[0] ?? '' };
      expect(await (await fetch(`${url}/me`, { headers })).json()).toStrictEqual({ user: 'ada' });
      const said: string[] = [];
      const socket = new WebSocket(`${url.replace('http', 'ws')}/chat`, { headers });
      onTestEnd(() => socket.close());
      socket.addEventListener('message', ({ data }) => said.push(String(data)));
      expect(JSON.parse(await nth(said, 0))).toStrictEqual({ user: 'ada', root: '/service/web' });
      socket.send('hello');
      expect(await nth(said, 1)).toBe('HELLO');
    },
  );

  testUnless(fastapiReason)('FastAPI: what it streams comes piece by piece', async () => {
    const url = base('web');
    const response = await fetch(`${url}/stream`);
    mustHold(response.body !== null);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader.read()).value).toBe('data: first\n\n');
    await fetch(`${url}/go`, { method: 'POST' });
    expect((await reader.read()).value).toBe('data: last\n\n');
    expect((await reader.read()).done).toBe(true);
  });

  testUnless(jupyterReason)(
    'Jupyter: a page writes a file, starts a kernel and computes by its WebSocket',
    async () => {
      const url = base('notebook');
      const { origin } = new URL(url);
      const headers = { origin, 'content-type': 'application/json' };
      const post = (path: string, body: string): Promise<Response> =>
        fetch(`${url}${path}`, { method: 'POST', headers, body });
      const file = await post('/api/contents', '{"type":"file","ext":".txt"}');
      expectNamed(file.status, await file.text()).toBe(201);
      expect(file.headers.get('location')).toBe('/service/notebook/api/contents/untitled.txt');
      const started = await post('/api/kernels', '{}');
      const { id } = (await started.json()) as { readonly id: string };
      const results: string[] = [];
      const socket = new WebSocket(`${url.replace('http', 'ws')}/api/kernels/${id}/channels`, {
        headers: { origin },
      });
      onTestEnd(() => socket.close());
      socket.addEventListener('message', ({ data }) => {
        const { header, content } = JSON.parse(String(data)) as KernelMessage;
        if (header.msg_type === 'execute_result') results.push(String(content.data?.['text/plain']));
      });
      await new Promise((resolve) => socket.addEventListener('open', resolve));
      socket.send(JSON.stringify(executeRequest('6 * 7')));
      expect(await nth(results, 0)).toBe('42');
      expect((await fetch(`${url}/api/kernels/${id}`, { method: 'DELETE', headers })).status).toBe(204);
    },
  );

  test('the openai client: streams, and shows the error of the worker and that of the sidecar', async () => {
    const client = (service: string): OpenAI => new OpenAI({ baseURL: `${base(service)}/v1`, apiKey: 'any' });
    const messages = [{ role: 'user', content: 'hi' }] as const;
    let text = '';
    const stream = await client('llm').chat.completions.create({
      model: 'tiny',
      messages: [...messages],
      stream: true,
    });
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
    expect(text).toBe('tokens');
    const unknown = client('llm').chat.completions.create({ model: 'huge', messages: [...messages] });
    await expect(unknown).rejects.toThrow('404 The model huge does not exist');
    const nobody = client('Nobody').chat.completions.create({ model: 'tiny', messages: [...messages] });
    await expect(nobody).rejects.toThrow(/^404 .*lower case/);
  });

  test('MCP: four clients of two servers keep their sessions, also by another sidecar, until they end them', async () => {
    const { app, otherApp, mcp } = mesh();
    const opened = await Promise.all([1, 2, 3, 4].map(() => openMcp(base('tools', app))));
    const counts = async (): Promise<string[]> => Promise.all(opened.map(({ client }) => count(client)));
    const first = await counts();
    for (const text of first) expect(text).toMatch(/^w[12] 1$/);
    expect(await counts()).toStrictEqual(first.map((text) => text.replace(/ 1$/, ' 2')));
    for (const [n, { logged }] of opened.entries()) {
      expect(await nth(logged, 0)).toBe(first[n]);
      expect(await nth(logged, 1)).toBe(String(first[n]).replace(/ 1$/, ' 2'));
    }
    const resumed = await Promise.all(
      opened.map(({ transport }) => openMcp(base('tools', otherApp), String(transport.sessionId))),
    );
    for (const [n, { client }] of resumed.entries())
      expect(await count(client)).toBe(String(first[n]).replace(/ 1$/, ' 3'));
    expect(mcp.reduce((sum, { sessions }) => sum + sessions(), 0)).toBe(4);
    for (const { transport } of resumed) await transport.terminateSession();
    expect(mcp.reduce((sum, { sessions }) => sum + sessions(), 0)).toBe(0);
    for (const { client } of opened) await expect(count(client)).rejects.toThrow(/Session not found/);
  });
});

/** What arrives, by its place, once it is there. */
async function nth(arriving: readonly string[], n: number): Promise<string> {
  const found = await eventually(
    'it arrives',
    () => arriving[n],
    (text) => text !== undefined,
  );
  return String(found);
}

interface KernelMessage {
  readonly header: { readonly msg_type: string };
  readonly content: { readonly data?: Readonly<Record<string, unknown>> };
}

/** jupyter-client.readthedocs.io, "Messaging in Jupyter". */
function executeRequest(code: string): object {
  return {
    channel: 'shell',
    header: { msg_id: 'm-1', session: 's-1', username: 'test', msg_type: 'execute_request', version: '5.3' },
    parent_header: {},
    metadata: {},
    content: {
      code,
      silent: false,
      store_history: false,
      user_expressions: {},
      allow_stdin: false,
      stop_on_error: true,
    },
    buffers: [],
  };
}

interface OpenedMcp {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  /** What the server tells by its event streams. */
  readonly logged: readonly string[];
}

/** With a session that it was given before, or a new one. */
async function openMcp(url: string, sessionId?: string): Promise<OpenedMcp> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  const logged: string[] = [];
  client.setNotificationHandler(
    LoggingMessageNotificationSchema,
    ({ params }) => void logged.push(String(params.data)),
  );
  const known = sessionId === undefined ? {} : { sessionId };
  const transport = new StreamableHTTPClientTransport(new URL(`${url}/mcp`), known);
  // The types of the SDK are not made for `exactOptionalPropertyTypes`.
  await client.connect(transport as Transport);
  onTestEnd(() => client.close());
  return { client, transport, logged };
}

async function count(client: Client): Promise<string> {
  const { content } = await client.callTool({ name: 'count' });
  return (content as readonly { readonly text: string }[])[0]?.text ?? '';
}
