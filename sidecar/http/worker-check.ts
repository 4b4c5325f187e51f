/**
 * One look at whether a worker is well: by a GET, by gRPC's health service, or by a connection where it has neither.
 *
 * Shared by the health checks and by `doctor`, so that both say the same of the same worker. What the worker does not
 * take up stands in its listen backlog, closed or not: who asks again before it did fills that.
 */
import { isRefusedConnection, messageOf, SidecarError } from '../core/errors.ts';
import { isGrpc } from '../core/http/grpc.ts';
import { encodeHealthCheck, HEALTH_CHECK_PATH, parseHealthCheck } from '../core/http/grpc-health.ts';
import { first } from '../core/http/headers.ts';
import { askText, type HealthAsk } from '../core/worker/health-ask.ts';
import type { Origin, Upstreams } from './exchange.ts';
import { ownGet } from './own-get.ts';
import { type SmallGet, type SmallResponse, smallGet } from './small-get.ts';
import { dial } from './sockets/dial.ts';

export interface WorkerCheck {
  readonly origin: Origin;
  readonly ask: HealthAsk;
  /** Host that it is asked by; absent: that of the origin. */
  readonly host?: string | undefined;
  /** For the connection. */
  readonly timeoutMs: number;
  /** For the whole of the response; for how long a connection may stand there that the worker does not take up. */
  readonly limitMs: number;
  /** For workers that speak HTTP/2. */
  readonly upstreams: Upstreams;
  /** Whether a kept connection is no good; one over HTTP/1.1 is always new. */
  readonly isFresh: boolean;
  readonly signal?: AbortSignal;
}

export interface CheckFault {
  readonly reason: string;
  /**
   * `gone`: nobody listens there, which needs no second look. `unconnected`: it takes no connection. `silent`: it has not
   * answered. `ill`: its own word, or none that can be understood. `untrusted`: its certificate is not good here.
   */
  readonly kind: 'gone' | 'unconnected' | 'silent' | 'ill' | 'untrusted';
}

export interface CheckResult {
  /** null = all well. */
  readonly fault: CheckFault | null;
  /** `endpoint-load-metrics` of the response: the worker's own word of its load. */
  readonly report: string | null;
  /** Resolves once nothing of the check stands at the worker any more; null = nothing does. */
  readonly isOver: Promise<void> | null;
  /** What was asked is nothing that this worker knows. */
  readonly isUnknownThere: boolean;
}

/** A page for people may be what is asked. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** `UNIMPLEMENTED`. */
const GRPC_UNIMPLEMENTED = '12';

const WELL: CheckResult = { fault: null, report: null, isOver: null, isUnknownThere: false };

/** Never rejects. */
export async function checkWorker(check: WorkerCheck): Promise<CheckResult> {
  const { ask } = check;
  try {
    switch (ask.kind) {
      case 'connect':
        return { ...WELL, ...(await connect(check)) };
      case 'get':
        return ofGet(await get(check, ask.path), ask.path);
      case 'grpc':
        return await grpc(check, ask);
    }
  } catch (error) {
    return faulty({ reason: messageOf(error), kind: kindOf(error, check.origin) });
  }
}

function kindOf(error: unknown, { scheme }: Origin): CheckFault['kind'] {
  if (isRefusedConnection(error)) return 'gone';
  const code = (error as { code?: unknown }).code;
  if (code === 'response_timeout') return 'silent';
  // By TLS the worker itself takes up a connection, which a busy one does late.
  if (code === 'connect_timeout') return scheme === 'https' ? 'silent' : 'unconnected';
  if (code === 'certificate_untrusted') return 'untrusted';
  return code === 'connect_failed' ? 'unconnected' : 'ill';
}

function faulty(fault: CheckFault): CheckResult {
  return { ...WELL, fault };
}

function ofGet({ status, fields }: SmallResponse, path: string): CheckResult {
  const report = first(fields, 'endpoint-load-metrics') ?? null;
  if (status >= 200 && status < 400) return { ...WELL, report };
  return { ...faulty({ reason: `GET ${path} gave ${status}`, kind: 'ill' }), report };
}

function get(
  { origin, host, upstreams, isFresh, ...rest }: WorkerCheck,
  path: string,
): Promise<SmallResponse> {
  const asked: Omit<SmallGet, 'origin'> = { ...limitsOf(rest), target: path, host, fields: AGENT };
  const { scheme } = origin;
  // By HTTP/2 a worker that shuts down says so, on the connections that requests take; nothing new need be made. By
  // HTTP/1.1 it goes on answering on kept connections: that nobody listens any more shows only to one who comes anew.
  if (scheme === 'h2c') return smallGet(upstreams, { ...asked, origin, isFresh });
  return ownGet({ ...asked, origin: { ...origin, scheme } });
}

const AGENT = ['User-Agent', 'dht-sidecar'];

function limitsOf({ limitMs, timeoutMs, signal }: Pick<WorkerCheck, 'limitMs' | 'timeoutMs' | 'signal'>) {
  return { limitMs, connectMs: Math.min(timeoutMs, limitMs), maxBytes: MAX_BODY_BYTES, signal };
}

async function grpc(
  { origin, host, upstreams, isFresh, ...rest }: WorkerCheck,
  ask: Extract<HealthAsk, { kind: 'grpc' }>,
): Promise<CheckResult> {
  const { status, fields, trailers, body } = await smallGet(upstreams, {
    ...limitsOf(rest),
    target: HEALTH_CHECK_PATH,
    host,
    fields: [...AGENT, 'Content-Type', 'application/grpc', 'TE', 'trailers'],
    post: encodeHealthCheck(ask.service),
    origin,
    isFresh,
  });
  const code = first(trailers, 'grpc-status') ?? first(fields, 'grpc-status');
  const isUnknownThere = status !== 200 || !isGrpc(fields) || code === GRPC_UNIMPLEMENTED;
  if (isUnknownThere) {
    // It answers: where nobody counts on this service, that is enough.
    const reason = `${askText(ask)} is not served there (status ${status}, grpc-status ${code ?? 'none'})`;
    return { ...WELL, fault: ask.isRequired ? { reason, kind: 'ill' } : null, isUnknownThere };
  }
  const said = code === '0' ? parseHealthCheck(body) : null;
  if (said === 'SERVING') return WELL;
  const what = said ?? (code === '0' ? 'something else' : `grpc-status ${code ?? 'none'}`);
  return faulty({ reason: `${askText(ask)} says ${what}`, kind: 'ill' });
}

/** Resolves when the connection is made, with when the worker has closed it too: then it has taken it up. */
function connect({
  origin,
  timeoutMs,
  limitMs,
  signal,
}: WorkerCheck): Promise<{ readonly isOver: Promise<void> }> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const giveUp = dial(origin, {
      connectMs: timeoutMs,
      tls: origin.scheme === 'https' ? (origin.tls ?? { ca: null }) : null,
      readBuffer: null,
      onConnected: (socket) => {
        signal?.removeEventListener('abort', onAbort);
        const close = (): void => void socket.destroy();
        const isOver = new Promise<void>((over) => socket.once('close', () => over()));
        const timer = setTimeout(close, limitMs);
        timer.unref();
        socket.unref();
        signal?.addEventListener('abort', close);
        void isOver.then(() => {
          clearTimeout(timer);
          signal?.removeEventListener('abort', close);
        });
        socket.on('error', () => {});
        socket.resume();
        socket.end();
        resolve({ isOver });
      },
      onFault: ({ code, detail, isRefused }) => {
        signal?.removeEventListener('abort', onAbort);
        reject(new SidecarError(code, detail, { isRefused }));
      },
    });
    const onAbort = (): void => {
      giveUp();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort);
  });
}
