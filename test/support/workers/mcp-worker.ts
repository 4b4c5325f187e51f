/**
 * An MCP server over HTTP as its TypeScript SDK makes one: a session for each client, with state that no other server has.
 */
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { onTestEnd } from '../runner/on-test-end.ts';

export interface McpWorker {
  readonly url: string;
  /** Sessions that live. */
  sessions(): number;
}

/** Its tool `count` says `<name> <how often this session has called it>`, and tells so in the client's event stream. */
export async function startMcpWorker(name: string): Promise<McpWorker> {
  const transports = new Map<string, StreamableHTTPServerTransport>();

  async function transportOf(request: http.IncomingMessage): Promise<StreamableHTTPServerTransport | null> {
    const id = request.headers['mcp-session-id'];
    if (typeof id === 'string') return transports.get(id) ?? null;
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (fresh) => void transports.set(fresh, transport),
      onsessionclosed: (old) => void transports.delete(old),
    });
    // The types of the SDK are not made for `exactOptionalPropertyTypes`.
    await countingServer(name).connect(transport as Transport);
    return transport;
  }

  const server = http.createServer((request, response) => {
    if (request.url === '/health') return void response.end();
    void transportOf(request).then(async (transport) => {
      if (transport === null) response.writeHead(404).end('Session not found');
      else await transport.handleRequest(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(async () => {
    for (const transport of transports.values()) await transport.close();
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, sessions: () => transports.size };
}

function countingServer(name: string): McpServer {
  const server = new McpServer({ name, version: '1.0.0' }, { capabilities: { logging: {} } });
  let count = 0;
  server.registerTool('count', { description: 'Counts the calls of this session.' }, async () => {
    count += 1;
    const text = `${name} ${count}`;
    await server.server.sendLoggingMessage({ level: 'info', data: text });
    return { content: [{ type: 'text', text }] };
  });
  return server;
}
