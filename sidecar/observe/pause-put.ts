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

/** Which service, null = all; or what is wrong in plain words. Never throws. */
export function parsePause(
  queried: string | null,
  text: string,
): { readonly service: string | null } | string {
  let service: unknown = queried;
  if (text.trim() !== '') {
    const json = parseObject(text, ['service']);
    if (typeof json === 'string') return json;
    const { service: named = null } = json;
    if (named !== null && queried !== null && named !== queried) return 'Two services are named.';
    service = named ?? queried;
  }
  if (service === null) return { service };
  if (typeof service !== 'string' || !isServiceName(service))
    return '"service" is not the name of a service.';
  return { service };
}

/** A JSON object with none but these keys, or what is wrong with the text in plain words. Never throws. */
export function parseObject<K extends string>(
  text: string,
  keys: readonly K[],
): { readonly [Key in K]?: unknown } | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return 'The body is not JSON.';
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    return 'The body is not a JSON object.';
  const known: readonly string[] = keys;
  if (Object.keys(json).some((key) => !known.includes(key)))
    return `Only ${keys.map((key) => `"${key}"`).join(' and ')} may be in it.`;
  return json;
}
