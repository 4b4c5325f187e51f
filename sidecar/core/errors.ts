/**
 * The error table: every failure that the sidecar itself answers with, as one stable code.
 *
 * One table instead of status codes spread over the request path: it is the documentation, the label
 * set of the failure metric and the source of `docs/troubleshooting.md` at once. It must not know HTTP
 * messages (proxy/respond turns a SidecarError into one) nor who the peers are.
 */

interface CodeEntry {
  /** HTTP status of the answer (RFC 9110 §15). */
  readonly status: number;
  /** `Retry-After` in seconds, where waiting helps; null where it does not. */
  readonly retryAfterSeconds: number | null;
  /** `error` parameter of the Proxy-Status field (RFC 9209 §2.3). */
  readonly proxyStatus: string;
  /** What it means, for the one who reads the answer. */
  readonly meaning: string;
}

export const CODES = {
  bad_request: {
    status: 400,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_error',
    meaning: 'The request is not well-formed HTTP, or its length is in doubt.',
  },
  request_timeout: {
    status: 408,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_error',
    meaning: 'The request head did not arrive within the time limit.',
  },
  uri_too_long: {
    status: 414,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_error',
    meaning: 'The request target is longer than this sidecar accepts.',
  },
  headers_too_large: {
    status: 431,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_error',
    meaning: 'The header section is larger than this sidecar accepts.',
  },
  body_too_large: {
    status: 413,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_error',
    meaning: 'The request body is longer than the only way to the worker carries.',
  },
  unknown_service: {
    status: 404,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_denied',
    meaning: 'The request does not address a service.',
  },
  not_offered_here: {
    status: 421,
    retryAfterSeconds: null,
    proxyStatus: 'destination_not_found',
    meaning: 'This worker does not offer the service; the caller has an old view of it.',
  },
  not_a_member: {
    status: 401,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_denied',
    meaning: 'The caller has not shown that it is a member of this mesh.',
  },
  not_allowed: {
    status: 403,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_denied',
    meaning: "The caller's certificate does not allow it to call this service.",
  },
  loop_detected: {
    status: 508,
    retryAfterSeconds: null,
    proxyStatus: 'proxy_loop_detected',
    meaning: 'The request has already passed through this sidecar.',
  },
  saturated: {
    status: 503,
    retryAfterSeconds: 1,
    proxyStatus: 'destination_unavailable',
    meaning: 'All slots and the queue of the service are full.',
  },
  draining: {
    status: 503,
    retryAfterSeconds: 1,
    proxyStatus: 'destination_unavailable',
    meaning: 'The worker is shutting down and takes no new requests.',
  },
  warming: {
    status: 503,
    retryAfterSeconds: 5,
    proxyStatus: 'destination_unavailable',
    meaning: 'The worker is alive but not ready yet.',
  },
  no_peers: {
    status: 503,
    retryAfterSeconds: 1,
    proxyStatus: 'destination_not_found',
    meaning: 'Discovery works, and no ready worker offers the service.',
  },
  all_ejected: {
    status: 503,
    retryAfterSeconds: 5,
    proxyStatus: 'destination_unavailable',
    meaning: 'Workers offer the service, and none of them can be used now.',
  },
  discovery_unavailable: {
    status: 503,
    retryAfterSeconds: 2,
    proxyStatus: 'destination_not_found',
    meaning: 'No node of the DHT answers, so nobody can be found.',
  },
  connect_failed: {
    status: 502,
    retryAfterSeconds: null,
    proxyStatus: 'connection_refused',
    meaning: 'No connection to the worker could be made; nothing was sent.',
  },
  upstream_reset: {
    status: 502,
    retryAfterSeconds: null,
    proxyStatus: 'connection_terminated',
    meaning: 'The connection broke after the request was sent and before an answer began.',
  },
  upstream_protocol: {
    status: 502,
    retryAfterSeconds: null,
    proxyStatus: 'http_protocol_error',
    meaning: 'The answer is not well-formed HTTP, or does not come from the worker that was asked.',
  },
  connect_timeout: {
    status: 504,
    retryAfterSeconds: null,
    proxyStatus: 'connection_timeout',
    meaning: 'No connection to the worker within the time limit; nothing was sent.',
  },
  response_timeout: {
    status: 504,
    retryAfterSeconds: null,
    proxyStatus: 'http_response_timeout',
    meaning: 'The worker did not answer within the time limit.',
  },
  deadline: {
    status: 504,
    retryAfterSeconds: null,
    proxyStatus: 'http_response_timeout',
    meaning: 'The deadline that the caller set has passed.',
  },
  not_supported: {
    status: 501,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_denied',
    meaning: 'A method or transfer coding that this proxy does not carry.',
  },
  grpc_not_carried: {
    status: 501,
    retryAfterSeconds: null,
    proxyStatus: 'http_request_denied',
    meaning:
      'gRPC needs HTTP/2 all the way: the URL of the worker begins with http:// instead of h2c://, or the route is a tunnel.',
  },
  internal: {
    status: 500,
    retryAfterSeconds: null,
    proxyStatus: 'proxy_internal_error',
    meaning: 'A fault in the sidecar itself; please report it.',
  },
} as const satisfies Record<string, CodeEntry>;

export type Code = keyof typeof CODES;

/** A failure with a stable code. Test by `code`, never by `instanceof`: copies of a module differ in class. */
export class SidecarError extends Error {
  readonly code: Code;
  /** The host of the other side answered that nobody listens there. */
  readonly isRefused: boolean;

  constructor(code: Code, detail: string, options?: { cause?: unknown; isRefused?: boolean }) {
    super(detail, options);
    this.name = 'SidecarError';
    this.code = code;
    this.isRefused = options?.isRefused ?? false;
  }
}

/** Not silence, but an answer: nobody listens at an address whose host is there. */
export function isRefusedConnection(value: unknown): boolean {
  return value instanceof Error && (value as { isRefused?: unknown }).isRefused === true;
}
