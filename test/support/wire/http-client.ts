/**
 * A plain HTTP client for tests: what an app sends, with the target and the fields exactly as given.
 *
 * Node's own client below `fetch`, which would tidy paths and forbid `Host`; a connection per request, so that none
 * keeps a test from ending.
 */
import http from 'node:http';
import type { HostPort } from '../../../sidecar/core/host-port.ts';

export interface Sent {
  readonly method?: string;
  /** As it goes on the wire; not escaped or resolved. */
  readonly target?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** The head of the response; its body is left to the caller. Rejects when there is none. */
export function open(to: HostPort, sent: Sent = {}): Promise<http.IncomingMessage> {
  const { method = 'GET', target = '/', headers = {}, body } = sent;
  // Not `...to`: a listener has methods, which a socket would take for its own.
  const { host, port } = to;
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, path: target, headers, agent: false }, resolve);
    request.on('error', reject);
    request.end(body);
  });
}

/** The whole response. Rejects when its body breaks. */
export async function send(to: HostPort, sent: Sent = {}): Promise<Answer> {
  return wholeAnswer(await open(to, sent));
}

/** Reads it to its end. Rejects when its body breaks. */
export async function wholeAnswer(message: http.IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return {
    status: message.statusCode ?? 0,
    headers: message.headers,
    body: Buffer.concat(chunks).toString('utf8'),
  };
}
