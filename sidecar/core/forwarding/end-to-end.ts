/**
 * Which header and trailer fields go on to the next hop (RFC 9110 §7.6.1): all but those of one connection and those of
 * the mesh itself.
 */
import { isNamed } from '../http/headers.ts';
import { trimOws } from '../http/http1-syntax.ts';
import type { RawFields } from '../http/message.ts';
import { isForwardingInDisguise } from './forwarded.ts';
import { isSidecarHeader } from './sidecar-headers.ts';

/**
 * Fields for one connection only (RFC 9110 §7.6.1), beside those that Connection names:
 * - Proxy-Authorization and Proxy-Authenticate: credentials and challenge between the app and this proxy (§11.7);
 * - TE: what *our* peer accepts is between us and it (§10.1.4; see `acceptsTrailers`);
 * - HTTP2-Settings: of the h2c upgrade (RFC 7540 §3.2.1), which no intermediary may pass on.
 * Not Trailer: since RFC 9110 §6.6.2 it is for the other end, which gets the trailers too.
 */
function isHopByHop(name: string): boolean {
  switch (name.length) {
    case 2:
      return isNamed(name, 'te');
    case 7:
      return isNamed(name, 'upgrade');
    case 10:
      return isNamed(name, 'connection') || isNamed(name, 'keep-alive');
    case 14:
      return isNamed(name, 'http2-settings');
    case 16:
      return isNamed(name, 'proxy-connection');
    case 17:
      return isNamed(name, 'transfer-encoding');
    case 18:
      return isNamed(name, 'proxy-authenticate');
    case 19:
      return isNamed(name, 'proxy-authorization');
    case 25:
      return isNamed(name, 'proxy-authentication-info');
    default:
      return false;
  }
}

/**
 * Fields that Connection cannot nominate, beside all `sidecar-*`: whoever drops one of these from a message changes
 * its length, its destination, its author or its trace. RFC 9110 §7.6.1 forbids a sender to nominate them.
 */
const PROTECTED: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'authorization',
  'cookie',
  'set-cookie',
  'cache-control',
  'expect',
  'idempotency-key',
  'max-forwards',
  'via',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-prefix',
]);

/** Lower-case names of further fields to remove; null when Connection nominates none, which is the usual case. */
function nominated(fields: RawFields): ReadonlySet<string> | null {
  let names: Set<string> | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    if (!isNamed(fields[i]!, 'connection')) continue;
    const value = fields[i + 1]!;
    if (value === 'keep-alive' || value === 'close' || value === 'Upgrade') continue;
    for (const element of value.toLowerCase().split(',')) {
      const name = trimOws(element);
      if (name === '' || isHopByHop(name) || PROTECTED.has(name) || isSidecarHeader(name)) continue;
      names ??= new Set();
      names.add(name);
    }
  }
  return names;
}

/**
 * The fields meant for the other end: a new list, in order, that the caller may add to. Without the hop-by-hop fields,
 * those that Connection names (see PROTECTED for what it cannot name), and those of the sidecars. Content-Length stays.
 * `isTaken`: further fields that are left out; asked once for each that would stay.
 */
export function endToEnd(
  fields: RawFields,
  isTaken: ((name: string, value: string) => boolean) | null = null,
): RawFields {
  const names = nominated(fields);
  const kept: RawFields = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (isHopByHop(name) || isSidecarHeader(name) || names?.has(name.toLowerCase())) continue;
    if (isTaken === null || !isTaken(name, value)) kept.push(name, value);
  }
  return kept;
}

/** Fields that no trailer section may hold: they frame, route, authorise or describe (RFC 9110 §6.5.1). */
const NEVER_TRAILERS: ReadonlySet<string> = new Set([
  ...PROTECTED,
  'content-range',
  'content-location',
  'trailer',
  'range',
  'www-authenticate',
]);

/** The trailers that may travel on, judged with the Connection field of the head they belong to. */
export function endToEndTrailers(trailers: RawFields, headFields: RawFields): RawFields {
  if (trailers.length === 0) return trailers;
  const names = nominated(headFields);
  const kept: RawFields = [];
  for (let i = 0; i < trailers.length; i += 2) {
    const lowerName = trailers[i]!.toLowerCase();
    if (isHopByHop(lowerName) || NEVER_TRAILERS.has(lowerName) || isSidecarHeader(lowerName)) continue;
    if (isForwardingInDisguise(lowerName)) continue;
    if (!names?.has(lowerName)) kept.push(trailers[i]!, trailers[i + 1]!);
  }
  return kept;
}

/** Whether `TE` lists `trailers` (RFC 9110 §10.1.4); then the next hop may be told `TE: trailers`, `Connection: TE`. */
export function acceptsTrailers(fields: RawFields): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    if (!isNamed(fields[i]!, 'te')) continue;
    for (const element of fields[i + 1]!.toLowerCase().split(',')) {
      const coding = trimOws(element);
      if (
        coding === 'trailers' ||
        (coding.startsWith('trailers') && trimOws(coding.slice(8)).startsWith(';'))
      )
        return true;
    }
  }
  return false;
}
