/**
 * A GET (or a small POST) whose response is small and wanted whole, over the connections that requests take.
 *
 * For what the sidecar asks of peers, where a response has to prove the route, and of HTTP/2 workers. Whatever the other
 * side does (hangs, drips, never ends), the time and the memory are bounded.
 */
import { SidecarError } from '../core/errors.ts';
import { hostHeader } from '../core/http/base-url.ts';
import type { RawFields } from '../core/http/message.ts';
import type { IncomingHead, Origin, Upstreams } from './exchange.ts';
import { setTimeoutAfterPoll } from './sockets/timers.ts';

export interface SmallGet {
  readonly origin: Origin;
  readonly target: string;
  /** Absent: that of the origin. */
  readonly host?: string | undefined;
  /** Besides Host. */
  readonly fields: RawFields;
  /** From the call to the last byte of the body. */
  readonly limitMs: number;
  /** For the connection; as long as the whole unless given. */
  readonly connectMs?: number;
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface SmallResponse {
  readonly status: number;
  readonly fields: RawFields;
  readonly body: Buffer;
}

export interface UpstreamResponse extends SmallResponse {
  readonly trailers: RawFields;
}

export interface UpstreamGet extends SmallGet {
  /** Sent by POST in place of GET. */
  readonly post?: Buffer;
  /** Over a connection of its own: one that is kept may be dead while the path lives. */
  readonly isFresh: boolean;
  /** Why the response is not taken, told by its head; null = it is. */
  refusal?(head: IncomingHead): string | null;
}

/**
 * Rejects with the signal's reason, or with a SidecarError: `connect_*`, `response_timeout`, `upstream_*`, and
 * `upstream_protocol` when the response is refused or too large.
 */
export function smallGet(upstreams: Upstreams, get: UpstreamGet): Promise<UpstreamResponse> {
  return withinLimit(get, (signal) => collect(upstreams, get, signal));
}

/** The signal that `run` gets aborts when the time is up, or with the one in `get`. */
export async function withinLimit<T>(
  { target, limitMs, signal }: Pick<SmallGet, 'target' | 'limitMs' | 'signal'>,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const end = new AbortController();
  const onAbort = (): void => end.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  // Not AbortSignal.timeout: what arrived while the process stood still is in time.
  const cancel = setTimeoutAfterPoll(
    () => end.abort(new SidecarError('response_timeout', `no answer to GET ${target} within ${limitMs} ms`)),
    limitMs,
  );
  try {
    return await run(end.signal);
  } finally {
    cancel();
    signal?.removeEventListener('abort', onAbort);
  }
}

/** What is said of a body that is larger than it may be. */
export function tooLarge(maxBytes: number): SidecarError {
  return new SidecarError('upstream_protocol', `the response is larger than ${maxBytes} bytes`);
}

function collect(upstreams: Upstreams, get: UpstreamGet, signal: AbortSignal): Promise<UpstreamResponse> {
  const { origin, target, host = hostHeader(origin), fields, limitMs, connectMs = limitMs } = get;
  const { maxBytes, post } = get;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let head: IncomingHead | null = null;
    const onAbort = (): void => giveUp(signal.reason);
    const fail = (error: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      reject(error);
    };
    const giveUp = (error: unknown): void => {
      request.abort();
      fail(error);
    };
    const request = upstreams.request(
      origin,
      {
        method: post === undefined ? 'GET' : 'POST',
        target,
        host,
        fields,
        body: post === undefined ? { kind: 'none' } : { kind: 'length', bytes: post.length },
        upgrade: null,
      },
      { connectMs, headMs: limitMs, idleMs: limitMs },
      {
        onSent: (sent) => {
          if (post === undefined) return;
          sent.write(post);
          sent.end([]);
        },
        onInformational: () => {},
        onHead: (received) => {
          head = received;
          const refusal = get.refusal?.(received) ?? null;
          if (refusal !== null) giveUp(new SidecarError('upstream_protocol', refusal));
        },
        onData: (chunk) => {
          bytes += chunk.length;
          if (bytes > maxBytes) {
            giveUp(tooLarge(maxBytes));
            return false;
          }
          chunks.push(chunk);
          return true;
        },
        onEnd: (trailers) => {
          signal.removeEventListener('abort', onAbort);
          const { status, fields: received } = head ?? { status: 0, fields: [] };
          resolve({ status, fields: received, trailers, body: Buffer.concat(chunks) });
        },
        onUpgrade: (_head, stream) => {
          stream.socket.destroy();
          fail(new SidecarError('upstream_protocol', 'an upgrade that nobody asked for'));
        },
        onUpstreamDrain: () => {},
        onFault: ({ code, detail, isRefused = false }) => fail(new SidecarError(code, detail, { isRefused })),
      },
      get.isFresh,
    );
    signal.addEventListener('abort', onAbort);
  });
}
