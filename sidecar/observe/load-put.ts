/**
 * `PUT /load`: the worker's own word on the admin port, the one thing that may be put there.
 *
 * `{"load": 0.7}` or `{"service": "llm-inference", "load": 0.7}`, for a worker that has no metrics page and cannot add
 * headers to its responses. Strict: a wrong key is an error and not half a word.
 */
import type { IncomingMessage } from 'node:http';
import { isLoopback } from '../core/host-port.ts';
import { isServiceName } from '../core/service-name.ts';
import { parseObject } from './pause-put.ts';

export interface PutLoad {
  /** null = each service of this worker. */
  readonly service: string | null;
  /** 0 idle … 1 full. */
  readonly loadRatio: number;
}

const MAX_BODY_BYTES = 4_096;

/** What the text says, or what is wrong with it in plain words. Never throws. */
export function parsePutLoad(text: string): PutLoad | string {
  const json = parseObject(text, ['service', 'load']);
  if (typeof json === 'string') return json;
  const { service = null, load } = json;
  if (typeof load !== 'number' || !(load >= 0 && load <= 1)) return '"load" is not a number from 0 to 1.';
  if (service === null) return { service, loadRatio: load };
  if (typeof service !== 'string' || !isServiceName(service))
    return '"service" is not the name of a service.';
  return { service, loadRatio: load };
}

/** A listener of both families tells an IPv4 address inside an IPv6 one. */
export function isFromThisHost({ socket }: Pick<IncomingMessage, 'socket'>): boolean {
  return isLoopback((socket.remoteAddress ?? '').replace(/^::ffff:/i, ''));
}

/**
 * Whether it comes from this host and not from a page in a browser: a word of load turns requests away, so that who
 * can reach the port from elsewhere must not have it.
 */
export function isFromWorker(request: IncomingMessage): boolean {
  return isFromThisHost(request) && request.headers.origin === undefined;
}

/** The body as text; null when it is too long. Rejects when the client leaves. */
export async function readSmallBody(
  request: IncomingMessage,
  maxBytes = MAX_BODY_BYTES,
): Promise<string | null> {
  const parts: Buffer[] = [];
  let length = 0;
  // Not destroyed when it is too long: the response goes by the same socket.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += part.byteLength;
    if (length > maxBytes) return null;
    parts.push(part);
  }
  return Buffer.concat(parts, length).toString('utf8');
}
