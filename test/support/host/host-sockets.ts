/**
 * How a test reaches into a host of a rig: by Unix sockets, which network namespaces do not part.
 *
 * So requests are made and timed in the test's own process, and a cut of the host's network does not cut the test
 * off from it; and what programs there say.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { type Answer, type Sent, wholeAnswer } from '../wire/http-client.ts';

export interface TimedAnswer extends Answer {
  /** From the start of the request to the end of the response. */
  readonly tookMs: number;
}

/** Lets a Unix socket reach a port of its host: `relay.mjs <socket> <port>`. */
const RELAY = `
  import net from 'node:net';
  const [path, port] = process.argv.slice(1);
  net.createServer((outer) => {
    const inner = net.connect(Number(port), '127.0.0.1');
    outer.on('error', () => inner.destroy()).on('close', () => inner.destroy());
    inner.on('error', () => outer.destroy()).on('close', () => outer.destroy());
    outer.pipe(inner).pipe(outer);
  }).listen(path, () => console.log('up'));`;

/** `run` starts a Node program in the host. Resolves when the socket at `path` leads to the port there. */
export async function openRelay(
  run: (args: readonly string[]) => ChildProcess,
  path: string,
  port: number,
): Promise<void> {
  const { stdout } = run(['--input-type=module', '-e', RELAY, path, String(port)]);
  if (stdout !== null) await once(stdout, 'data');
}

/** One request, on a connection of its own. Rejects when there is no whole response. */
export async function askSocket(socketPath: string, sent: Sent): Promise<TimedAnswer> {
  const { method = 'GET', target = '/', headers = {}, body } = sent;
  const startedMs = performance.now();
  const message = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const options = {
      socketPath,
      method,
      path: target,
      headers: { host: 'localhost', ...headers },
      agent: false,
    };
    const request = http.request(options, resolve);
    request.on('error', reject);
    request.end(body);
  });
  return { ...(await wholeAnswer(message)), tookMs: performance.now() - startedMs };
}

/** All that a program has written to both of its outputs since this call. */
export function outputOf(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return () => text;
}
