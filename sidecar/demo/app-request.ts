/**
 * One thing that the app of the demo wants: a POST, a GET, a token stream, or something of the local service.
 *
 * Written as an app would be: node:http to the outbound port, and nothing of the sidecar. What comes back is checked to
 * be the answer to what was sent. A response that breaks off after it began is asked for again, once for a response and
 * from the last event for a stream, as EventSource does: that is the app's part in the contract ("a body that breaks is
 * never ended cleanly").
 */
import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { HostPort } from '../core/host-port.ts';
import { fields, textOf } from '../core/json.ts';
import { LOCAL_SERVICE, REMOTE_SERVICE } from './mesh.ts';

export const REQUEST_KINDS = ['post', 'get', 'stream', 'local'] as const;
export type RequestKind = (typeof REQUEST_KINDS)[number];

export interface AppRequestOptions {
  /** The sidecar's outbound listener. */
  readonly outbound: HostPort;
  readonly agent: Agent;
  readonly kind: RequestKind;
  /** Unlike that of any other request. */
  readonly id: string;
  readonly signal: AbortSignal;
}

export interface AppAnswer {
  /** Who gave the (last part of the) answer. */
  readonly worker: string;
  /** To the end of the response; of a stream to its first event. */
  readonly ms: number;
  /** The sidecar made more than one attempt. */
  readonly isRetried: boolean;
  /** The response broke off, and the app asked again. */
  readonly isResumed: boolean;
}

/** An app would be more patient; here this long is a failure. */
const PATIENCE_MS = 15_000;
const STREAM_EVENTS = 8;

/** How often a response that breaks off is asked for again. */
const MAX_RESUMES = 2;

/** The connection broke after the response had begun. */
class BrokenOff extends Error {}

/** Rejects with what an app would have to show to its user. */
export async function makeRequest(options: AppRequestOptions): Promise<AppAnswer> {
  const startedMs = performance.now();
  const stream = new StreamReading();
  for (let resumes = 0; ; resumes++) {
    try {
      const response = await send(options, stream.lastId);
      const body = await readBody(response, options.kind === 'stream' ? stream : null);
      const endedMs = performance.now();
      if (options.kind === 'stream') stream.check(options.id);
      else checkEcho(body, options);
      return {
        worker: textOf(response.headers['sidecar-worker']),
        ms: (stream.firstEventMs ?? endedMs) - startedMs,
        isRetried: Number(response.headers['sidecar-attempts']) > 1,
        isResumed: resumes > 0,
      };
    } catch (error) {
      if (!(error instanceof BrokenOff) || resumes >= MAX_RESUMES || options.signal.aborted) throw error;
    }
  }
}

/** Resolves with the head of a 200; any other is an error that says what the response said. */
async function send(options: AppRequestOptions, lastEventId: number): Promise<IncomingMessage> {
  const { agent, id, kind, outbound } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(PATIENCE_MS)]);
  const path = pathOf(kind, id);
  const body = kind === 'get' || kind === 'stream' ? '' : JSON.stringify({ prompt: `question ${id}` });
  const headers: Record<string, string> = {};
  if (body !== '') {
    headers['content-type'] = 'application/json';
    headers['content-length'] = String(Buffer.byteLength(body));
    headers['idempotency-key'] = id;
  }
  if (lastEventId > 0) headers['last-event-id'] = String(lastEventId);
  const method = body === '' ? 'GET' : 'POST';
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest({ ...outbound, agent, path, method, headers, signal }, resolve);
    // After the head this only repeats what the response itself says.
    request.on('error', (error) =>
      reject(new Error(`${method} ${path}: ${error.message}`, { cause: error })),
    );
    request.end(body);
  });
  if (response.statusCode === 200) return response;
  const problem = await readBody(response, null);
  throw new Error(`${method} ${path}: ${response.statusCode} ${inOneLine(problem)}`);
}

function pathOf(kind: RequestKind, id: string): string {
  if (kind === 'local') return `/service/${LOCAL_SERVICE}/notes?id=${id}`;
  if (kind === 'post') return `/service/${REMOTE_SERVICE}/v1/chat?id=${id}`;
  if (kind === 'get') return `/service/${REMOTE_SERVICE}/v1/models?id=${id}`;
  return `/service/${REMOTE_SERVICE}/v1/stream?id=${id}&events=${STREAM_EVENTS}`;
}

async function readBody(response: IncomingMessage, stream: StreamReading | null): Promise<string> {
  let body = '';
  response.setEncoding('utf8');
  try {
    for await (const part of response) {
      if (stream === null) body += String(part);
      else stream.take(String(part));
    }
  } catch (error) {
    throw new BrokenOff(`the response broke off: ${(error as Error).message}`, { cause: error });
  } finally {
    stream?.partEnded();
  }
  return body;
}

function checkEcho(body: string, { id, kind }: AppRequestOptions): void {
  const answer = fields(JSON.parse(body));
  const said = kind === 'get' ? '' : JSON.stringify({ prompt: `question ${id}` });
  if (answer.id !== id || answer.said !== said)
    throw new Error(`asked ${id}, and got another's answer: ${body}`);
}

/** Events of one stream, over as many connections as it takes. */
class StreamReading {
  #unread = '';
  #texts: string[] = [];
  #isDone = false;
  lastId = 0;
  firstEventMs: number | null = null;

  take(text: string): void {
    const events = (this.#unread + text).split('\n\n');
    this.#unread = events.pop() ?? '';
    for (const event of events) {
      this.firstEventMs ??= performance.now();
      if (/^event: done$/m.test(event)) this.#isDone = true;
      const id = Number(/^id: (\d+)$/m.exec(event)?.[1]);
      if (id > 0) {
        this.lastId = id;
        this.#texts.push(/^data: (.*)$/m.exec(event)?.[1] ?? '');
      }
    }
  }

  /** What was not a whole event will be sent again. */
  partEnded(): void {
    this.#unread = '';
  }

  check(id: string): void {
    const wanted = Array.from({ length: STREAM_EVENTS }, (_, at) => `${id} ${at + 1}`);
    if (this.#isDone && this.#texts.join() === wanted.join()) return;
    throw new Error(`the stream ${id} ended, and had only: ${this.#texts.join()}`);
  }
}

/** `code: detail` of a problem+json, or the beginning of what else it is. */
function inOneLine(body: string): string {
  try {
    const problem = fields(JSON.parse(body));
    if (textOf(problem.code) !== '') {
      return `${textOf(problem.code)}: ${textOf(problem.detail)} ${JSON.stringify(problem.attempts ?? [])}`;
    }
  } catch {
    // Not made by a sidecar.
  }
  return JSON.stringify(body.slice(0, 200));
}
