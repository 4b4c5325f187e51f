/**
 * Asks the sidecar that runs here, on its admin port.
 *
 * node:http with a time limit and a size limit; every failure is told as what to do about it, because the commands that
 * use it are run when something is wrong already.
 */
import { get } from 'node:http';
import type { HostPort } from '../core/host-port.ts';
import { formatHostPort } from '../core/host-port.ts';

export interface AdminAnswer {
  readonly status: number;
  readonly body: unknown;
}

export type AskAdmin = (path: string) => Promise<AdminAnswer>;

const TIMEOUT_MS = 5_000;
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
  return (path) =>
    new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown) => reject(new AdminError(`${name} ${why}`, { cause }));
      const request = get(
        { host: target.host, port: target.port, path, agent: false, timeout: TIMEOUT_MS },
        (response) => {
          const parts: Buffer[] = [];
          let size = 0;
          response.on('data', (part: Buffer) => {
            size += part.length;
            if (size > MAX_BYTES) request.destroy(new Error('too long'));
            else parts.push(part);
          });
          response.on('error', (error) => fail('broke off its response', error));
          response.on('end', () => {
            try {
              resolve({
                status: response.statusCode ?? 0,
                body: JSON.parse(Buffer.concat(parts).toString('utf8')),
              });
            } catch (error) {
              fail(
                'gave no JSON: is something else listening there? SIDECAR_ADMIN or --admin says where to ask',
                error,
              );
            }
          });
        },
      );
      request.on('timeout', () => request.destroy(new Error('time-out')));
      request.on('error', (error) => {
        const code = (error as NodeJS.ErrnoException).code;
        fail(
          code === 'ECONNREFUSED'
            ? 'refuses connections: no sidecar runs there. Start one, or say where it is with --admin or SIDECAR_ADMIN'
            : `does not answer (${code ?? error.message}). Say where the sidecar is with --admin or SIDECAR_ADMIN`,
          error,
        );
      });
    });
}

/** The members of a JSON object, or nothing: what comes over the wire is not trusted to have a shape. */
export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}
