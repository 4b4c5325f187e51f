/**
 * A GET of the sidecar's own (metrics pages, health checks, cloudflared, admin ports), made by undici.
 *
 * Each over a connection of its own, closed afterwards: what is asked is who answers there now, and a server that takes
 * one connection at a time is not kept from its work. Nothing is tried twice and no redirect is followed.
 */
import { Client } from 'undici';
import { CODES, SidecarError } from '../core/errors.ts';
import { hostHeader } from '../core/http/base-url.ts';
import type { Origin } from './exchange.ts';
import { type SmallGet, type SmallResponse, tooLarge, withinLimit } from './small-get.ts';
import { dial } from './sockets/dial.ts';

export interface OwnGet extends SmallGet {
  /** `h2c` is for `smallGet`, on the connections that requests take: there a worker that shuts down says so. */
  readonly origin: Origin & { readonly scheme: 'http' | 'https' };
  /** Bounds each step: the connection, the head, each pause in the body. As long as the whole unless given. */
  readonly stepMs?: number;
  /** GET unless given; without a body. */
  readonly method?: 'GET' | 'PUT';
}

/** undici looks at its clock twice a second, and its limits fall due up to so much too early. */
const UNDICI_TICK_MS = 500;
const MAX_HEAD_BYTES = 65_536;

/** Rejects as `smallGet` does. */
export function ownGet(get: OwnGet): Promise<SmallResponse> {
  return withinLimit(get, (signal) => request(get, signal));
}

async function request(get: OwnGet, signal: AbortSignal): Promise<SmallResponse> {
  const { origin, target, host = hostHeader(origin), fields, maxBytes, limitMs } = get;
  const { stepMs = limitMs, connectMs = stepMs } = get;
  const timeout = stepMs + UNDICI_TICK_MS;
  let giveUp = (): void => {};
  const client = new Client(`${origin.scheme}://${hostHeader(origin)}`, {
    connect: (_to, callback) => {
      giveUp = dial(origin, {
        connectMs,
        tls: origin.scheme === 'https' ? (origin.tls ?? { ca: null }) : null,
        readBuffer: null,
        onConnected: (socket) => {
          giveUp = () => {};
          callback(null, socket);
        },
        onFault: ({ code, detail, isRefused }) =>
          callback(new SidecarError(code, detail, { isRefused }), null),
      });
    },
    headersTimeout: timeout,
    bodyTimeout: timeout,
    maxHeaderSize: MAX_HEAD_BYTES,
    maxResponseSize: maxBytes,
  });
  // A signal given to undici would wait for the end of a name look-up, or of a connection that is being made.
  const end = (): void => {
    giveUp();
    void client.destroy(signal.reason as Error);
  };
  signal.addEventListener('abort', end);
  try {
    const headers = ['Host', host, ...fields];
    const { method = 'GET' } = get;
    const response = await client.request({ method, path: target, headers, reset: true });
    return {
      status: response.statusCode,
      fields: Object.entries(response.headers).flatMap(([name, value]) =>
        [value ?? []].flat().flatMap((each) => [name, each]),
      ),
      body: Buffer.from(await response.body.arrayBuffer()),
    };
  } catch (error) {
    throw signal.aborted ? signal.reason : faultOf(error as NodeJS.ErrnoException, get);
  } finally {
    signal.removeEventListener('abort', end);
    void client.destroy();
  }
}

function faultOf(error: NodeJS.ErrnoException, { maxBytes }: OwnGet): SidecarError {
  const cause = { cause: error };
  if (error.code !== undefined && Object.hasOwn(CODES, error.code)) return error as SidecarError;
  switch (error.code) {
    case 'UND_ERR_RES_EXCEEDED_MAX_SIZE':
      return tooLarge(maxBytes);
    case 'UND_ERR_HEADERS_TIMEOUT':
    case 'UND_ERR_BODY_TIMEOUT':
      return new SidecarError('response_timeout', error.message, cause);
    case 'UND_ERR_SOCKET':
    case 'ECONNRESET':
      return new SidecarError('upstream_reset', `the connection broke (${error.message})`, cause);
    default:
      return new SidecarError('upstream_protocol', error.message || String(error), cause);
  }
}
