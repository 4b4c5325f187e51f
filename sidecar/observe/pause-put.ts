/**
 * `/pause` and `/resume` on the admin port: the one who runs the worker takes it out for a while, and brings it back.
 *
 * `PUT /pause` for all services, `?service=NAME` or `{"service": "NAME"}` for one; `PUT /resume` or `DELETE /pause` brings
 * back. `GET /pause` shows. Strict, as every word that turns requests away.
 */
import { isServiceName } from '../core/service-name.ts';

export interface PauseState {
  readonly services: readonly {
    readonly service: string;
    readonly paused: boolean;
    /** Requests that are still being served. */
    readonly running: number;
  }[];
  /** Why a restart forgets it; absent = it does not. */
  readonly not_kept?: string;
}

/** What is asked for by this method and path; null = nothing of this. */
export function pauseAsked(method: string | undefined, path: string): 'pause' | 'resume' | null {
  if (path === '/pause' && method === 'PUT') return 'pause';
  if ((path === '/pause' && method === 'DELETE') || (path === '/resume' && method === 'PUT')) return 'resume';
  return null;
}

/** Which service, null = all; or what is wrong in plain words. Never throws. */
export function parsePause(
  queried: string | null,
  text: string,
): { readonly service: string | null } | string {
  let service: unknown = queried;
  if (text.trim() !== '') {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return 'The body is not JSON.';
    }
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      return 'The body is not a JSON object.';
    if (Object.keys(json).some((key) => key !== 'service')) return 'Only "service" may be in it.';
    const { service: named = null } = json as { service?: unknown };
    if (named !== null && queried !== null && named !== queried) return 'Two services are named.';
    service = named ?? queried;
  }
  if (service === null) return { service };
  if (typeof service !== 'string' || !isServiceName(service))
    return '"service" is not the name of a service.';
  return { service };
}
