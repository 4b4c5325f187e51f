/**
 * The error table: every failure that the sidecar itself answers with, as one stable code.
 *
 * One table instead of status codes spread over the request path: it is the documentation, the label set of the failure
 * metric and the source of `docs/troubleshooting.md` at once.
 */

interface CodeEntry {
  /** HTTP status of the response (RFC 9110 §15). */
  readonly status: number;
  /** `Retry-After` in seconds, where waiting helps; null where it does not. */
  readonly retryAfterSeconds: number | null;
  /** Whether the same request may well be served later. Whether repeating it is safe is another question. */
  readonly isTransient: boolean;
  /** `error` parameter of the Proxy-Status field (RFC 9209 §2.3). */
  readonly proxyStatus: string;
  /** What it means, for the one who reads the response. */
  readonly meaning: string;
  /** What to do, or where to look. */
  readonly advice: string;
}

export const CODES = {
  bad_request: {
    status: 400,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_error',
    meaning: 'The request is not well-formed HTTP, or its length is in doubt.',
    advice: 'Mend the client: `detail` names the place.',
  },
  request_timeout: {
    status: 408,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'http_request_error',
    meaning: 'The request head did not arrive within the time limit.',
    advice: 'Look for a client that stalls, or raise limits.headTimeout.',
  },
  uri_too_long: {
    status: 414,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_error',
    meaning: 'The request target is longer than this sidecar accepts.',
    advice: 'Send less, or raise limits.maxTarget on every sidecar on the way.',
  },
  headers_too_large: {
    status: 431,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_error',
    meaning: 'The header section is larger than this sidecar accepts.',
    advice: 'Send less, or raise limits.maxHead and limits.maxFields on every sidecar on the way.',
  },
  body_too_large: {
    status: 413,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_error',
    meaning: 'The request body is longer than the only way to the worker carries.',
    advice: 'Send less, or give the two a VPN; tunnel.maxBody is what tunnels carry.',
  },
  unknown_service: {
    status: 404,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning: 'The request does not address a service.',
    advice:
      'Call /service/<name>/…, or <name>.mesh, or set sidecar-service; the response says what is wrong with the name.',
  },
  unknown_worker: {
    status: 404,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'destination_not_found',
    meaning: 'The one worker that the request asks for is not there, or does not offer the service.',
    advice:
      'Leave sidecar-worker out, so that any worker may serve it; `dht-sidecar peers` lists those that are known.',
  },
  not_offered_here: {
    status: 421,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'destination_not_found',
    meaning: 'This worker does not offer the service; the caller has an old view of it.',
    advice: 'Nothing: the caller drops the worker from its view by itself.',
  },
  not_a_member: {
    status: 401,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning: 'The caller has not shown that it is a member of this mesh.',
    advice:
      'Compare the mesh keys and the end of the certificates; `dht-sidecar doctor` compares the clocks. For an app: send its token, as sidecar-token or as Authorization: Bearer.',
  },
  not_allowed: {
    status: 403,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning: "The caller's certificate does not allow it to call this service.",
    advice: 'Give the caller a certificate that names the service: `dht-sidecar mesh cert --calls`.',
  },
  host_not_allowed: {
    status: 403,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning:
      'This sidecar is called by a name that it does not go by, as web pages do that mean to pass for it.',
    advice:
      'Call 127.0.0.1, localhost or <service>.mesh; or name the host in outbound.hosts (on the admin port in admin.hosts).',
  },
  origin_not_allowed: {
    status: 403,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning: 'A web page of elsewhere asks, and it is not among those that may.',
    advice: 'If the page is yours, name its origin in outbound.origins.',
  },
  loop_detected: {
    status: 508,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'proxy_loop_detected',
    meaning: 'The request has already passed through this sidecar.',
    advice: 'Mend the worker or app that sends the request back to the sidecar it came from.',
  },
  saturated: {
    status: 503,
    retryAfterSeconds: 1,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'All slots and the queue of the service are full.',
    advice: 'Try again; if it lasts, add workers, or raise concurrency or queue of the service.',
  },
  worker_refused: {
    status: 503,
    retryAfterSeconds: 1,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'The worker itself refused the request: it has no room for it now.',
    advice:
      'Seen among `attempts`; the app gets the refusal of the last worker as it is. If it lasts, add workers, or set concurrency to what the worker takes, so that requests wait for a slot.',
  },
  draining: {
    status: 503,
    retryAfterSeconds: 1,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'The worker is shutting down and takes no new requests.',
    advice: "Nothing if the shutdown is meant; else start the worker's sidecar again, or add a worker.",
  },
  paused: {
    status: 503,
    retryAfterSeconds: 30,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'The one who runs the worker has taken it out for a while.',
    advice: 'Nothing if that is meant; `dht-sidecar resume` on its host brings it back. Else add a worker.',
  },
  warming: {
    status: 503,
    retryAfterSeconds: 5,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'The worker is alive but not ready yet.',
    advice: "Wait while a model loads; if it lasts, see the worker's own log, and services.<name>.health.",
  },
  no_peers: {
    status: 503,
    retryAfterSeconds: 1,
    isTransient: true,
    proxyStatus: 'destination_not_found',
    meaning: 'Discovery works, and no ready worker offers the service.',
    advice:
      'Compare the name of the service with the ones known, and see whether a sidecar that offers it runs: `dht-sidecar doctor` there and here.',
  },
  requirements_unmet: {
    status: 503,
    retryAfterSeconds: 5,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'Workers offer the service, and none of them has the capabilities that the request requires.',
    advice:
      'Compare sidecar-require (and calls.<service>.require) with what the workers say of themselves: `dht-sidecar peers`; `detail` names the nearest.',
  },
  all_ejected: {
    status: 503,
    retryAfterSeconds: 5,
    isTransient: true,
    proxyStatus: 'destination_unavailable',
    meaning: 'Workers offer the service, and none of them can be used now.',
    advice: 'See what each worker says: `dht-sidecar explain <service>`; then their own logs.',
  },
  discovery_unavailable: {
    status: 503,
    retryAfterSeconds: 2,
    isTransient: true,
    proxyStatus: 'destination_not_found',
    meaning: 'No node of the DHT answers, so nobody can be found.',
    advice:
      'See whether the nodes in SIDECAR_BOOTSTRAP run, UDP passes both ways, the VPN is up, and the mesh key is the same: `dht-sidecar doctor`.',
  },
  connect_failed: {
    status: 502,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'connection_refused',
    meaning: 'No connection to the worker could be made; nothing was sent.',
    advice:
      'See whether what should listen at that address runs there, and whether a firewall lets TCP through; for a tunnel, whether cloudflared runs.',
  },
  certificate_untrusted: {
    status: 502,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'tls_certificate_error',
    meaning: 'The TLS certificate of the worker is not good here; nothing was sent.',
    advice:
      'See what `detail` says: renew the certificate, or trust who signed it (services.<name>.tls.ca), or say the name that it is for (services.<name>.tls.name).',
  },
  upstream_reset: {
    status: 502,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'connection_terminated',
    meaning: 'The connection broke after the request was sent and before a response began.',
    advice: 'See the log of the worker, which probably crashed, or of its sidecar.',
  },
  upstream_protocol: {
    status: 502,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_protocol_error',
    meaning: 'The response is not well-formed HTTP, or does not come from the worker that was asked.',
    advice: 'See what answers at that address: `reason` says what was wrong with it.',
  },
  connect_timeout: {
    status: 504,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'connection_timeout',
    meaning: 'No connection to the worker within the time limit; nothing was sent.',
    advice:
      'See whether the host runs, the VPN is up on both sides, and no firewall drops packets to that port.',
  },
  response_timeout: {
    status: 504,
    retryAfterSeconds: null,
    isTransient: true,
    proxyStatus: 'http_response_timeout',
    meaning: 'The worker did not answer within the time limit.',
    advice: 'See what the worker is doing, or raise timeouts.head for the service.',
  },
  deadline: {
    status: 504,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_response_timeout',
    meaning: 'The deadline that the caller set has passed.',
    advice: 'Ask for more time in sidecar-deadline-ms, or see why the worker is slow.',
  },
  not_supported: {
    status: 501,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning: 'A method or transfer coding that this proxy does not carry.',
    advice: 'Nothing: it is not carried.',
  },
  grpc_not_carried: {
    status: 501,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'http_request_denied',
    meaning:
      'gRPC needs HTTP/2 all the way: the URL of the worker begins with http:// instead of h2c://, or the route is a tunnel.',
    advice: "Begin the worker's URL with h2c:// at its own sidecar, and reach it by VPN.",
  },
  internal: {
    status: 500,
    retryAfterSeconds: null,
    isTransient: false,
    proxyStatus: 'proxy_internal_error',
    meaning: 'A fault in the sidecar itself; please report it.',
    advice: 'See the log of this sidecar, and report it.',
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

/** Not silence, but a response: nobody listens at an address whose host is there. */
export function isRefusedConnection(value: unknown): boolean {
  return value instanceof Error && (value as { isRefused?: unknown }).isRefused === true;
}

/** What was thrown, in its own words: anything may be thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
