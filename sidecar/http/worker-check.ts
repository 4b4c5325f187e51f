/**
 * One look at whether a worker is well: by a GET, or by a connection where it has no path for that.
 *
 * Shared by the health checks and by `doctor`, so that both say the same of the same worker.
 */
import { isRefusedConnection, messageOf, SidecarError } from '../core/errors.ts';
import { first } from '../core/http/headers.ts';
import type { Origin, Upstreams } from './exchange.ts';
import { ownGet } from './own-get.ts';
import { type SmallResponse, smallGet } from './small-get.ts';
import { dial } from './sockets/dial.ts';

export interface WorkerCheck {
  readonly origin: Origin;
  /** Asked with GET (200–399 is healthy); null = a TCP connection is enough. */
  readonly path: string | null;
  /** Host that it is asked by; absent: that of the origin. */
  readonly host?: string | undefined;
  readonly timeoutMs: number;
  /** For workers that speak HTTP/2. */
  readonly upstreams: Upstreams;
  /** Whether a kept connection is no good; one over HTTP/1.1 is always new. */
  readonly isFresh: boolean;
}

export interface CheckFault {
  readonly reason: string;
  /** Nobody listens there, which needs no second look. */
  readonly isGone: boolean;
}

export interface CheckResult {
  /** null = all well. */
  readonly fault: CheckFault | null;
  /** `endpoint-load-metrics` of the response: the worker's own word of its load. */
  readonly report: string | null;
}

/** A page for people may be what is asked. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** Never rejects. */
export async function checkWorker(check: WorkerCheck): Promise<CheckResult> {
  const { path } = check;
  try {
    if (path === null) {
      await connect(check);
      return { fault: null, report: null };
    }
    const { status, fields } = await ask(check, path);
    const isWell = status >= 200 && status < 400;
    return {
      fault: isWell ? null : { reason: `GET ${path} gave ${status}`, isGone: false },
      report: first(fields, 'endpoint-load-metrics') ?? null,
    };
  } catch (error) {
    const reason = messageOf(error);
    return { fault: { reason, isGone: isRefusedConnection(error) }, report: null };
  }
}

function ask(
  { origin, host, timeoutMs, upstreams, isFresh }: WorkerCheck,
  path: string,
): Promise<SmallResponse> {
  const get = {
    target: path,
    host,
    fields: ['User-Agent', 'dht-sidecar'],
    limitMs: timeoutMs,
    maxBytes: MAX_BODY_BYTES,
  };
  const { scheme } = origin;
  // By HTTP/2 a worker that shuts down says so, on the connections that requests take; nothing new need be made. By
  // HTTP/1.1 it goes on answering on kept connections: that nobody listens any more shows only to one who comes anew.
  if (scheme === 'h2c') return smallGet(upstreams, { ...get, origin, isFresh });
  return ownGet({ ...get, origin: { scheme, host: origin.host, port: origin.port } });
}

function connect({ origin, timeoutMs }: WorkerCheck): Promise<void> {
  return new Promise((resolve, reject) => {
    dial(origin, {
      connectMs: timeoutMs,
      tls: null,
      read: null,
      onConnected: (socket) => {
        socket.destroy();
        resolve();
      },
      onFault: ({ code, detail, isRefused }) => reject(new SidecarError(code, detail, { isRefused })),
    });
  });
}
