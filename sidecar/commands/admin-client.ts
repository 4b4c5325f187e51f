/**
 * Asks the sidecar that runs here, on its admin port.
 *
 * Every failure is told as what to do about it, because the commands that use it are run when something is wrong already.
 */
import { isRefusedConnection, messageOf } from '../core/errors.ts';
import type { HostPort } from '../core/host-port.ts';
import { formatHostPort } from '../core/host-port.ts';
import { ownGet } from '../http/own-get.ts';
import type { SmallResponse } from '../http/small-get.ts';

export interface AdminAnswer {
  readonly status: number;
  readonly body: unknown;
}

export type AskAdmin = (path: string, method?: 'GET' | 'PUT') => Promise<AdminAnswer>;

/** For a connection, the head, and each pause in the body. */
const STEP_MS = 5_000;

/** For the whole: thousands of peers are a long page. */
const LIMIT_MS = 30_000;
const MAX_BYTES = 64 * 1024 * 1024;

/** No connection, no response in time, or not the response of a sidecar. The message says what to do. */
class AdminError extends Error {
  readonly code = 'admin_unreachable';

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'AdminError';
  }
}

/** A listener on all addresses is asked on loopback. */
function adminTarget(listen: HostPort): HostPort {
  if (listen.host === '0.0.0.0') return { host: '127.0.0.1', port: listen.port };
  return listen.host === '::' ? { host: '::1', port: listen.port } : listen;
}

/** The returned function rejects with an `AdminError` and nothing else. */
export function adminClient(listen: HostPort): AskAdmin {
  const target = adminTarget(listen);
  const name = formatHostPort(target);
  const fault = (why: string, cause: unknown): AdminError => new AdminError(`${name} ${why}`, { cause });
  return async (path, method = 'GET') => {
    let response: SmallResponse;
    try {
      response = await ownGet({
        origin: { scheme: 'http', ...target },
        target: path,
        method,
        fields: [],
        stepMs: STEP_MS,
        limitMs: LIMIT_MS,
        maxBytes: MAX_BYTES,
      });
    } catch (error) {
      throw fault(
        isRefusedConnection(error)
          ? 'refuses connections: no sidecar runs there. Start one, or say where it is with --admin or SIDECAR_ADMIN'
          : `does not answer (${messageOf(error)}). Say where the sidecar is with --admin or SIDECAR_ADMIN`,
        error,
      );
    }
    try {
      return { status: response.status, body: JSON.parse(response.body.toString('utf8')) };
    } catch (error) {
      throw fault(
        'gave no JSON: is something else listening there? SIDECAR_ADMIN or --admin says where to ask',
        error,
      );
    }
  };
}
