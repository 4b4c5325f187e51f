/**
 * Which service a request addresses, and what the worker is to be asked for (the contract's "What apps call").
 *
 * Four ways to say it, one response, and the rest of the target passed on byte for byte: nothing is decoded or
 * normalised, because `%2F`, `//` and `;` mean what the worker says they mean.
 */
import type { RawFields } from '../http/message.ts';
import { splitAbsolute } from '../http/request-target.ts';
import { isServiceName, MAX_NAME_LENGTH } from '../service-name.ts';

export type Addressed = {
  /** A valid service name; aliases are resolved. */
  service: string;
  /** Path and query for the worker: begins with `/`, or is `*` for an OPTIONS of the whole server. */
  target: string;
  how: 'path' | 'host' | 'header' | 'absolute';
  /** What was taken off the path, as it was written: `/service/<name>`; '' where the path names no service. */
  prefix: string;
};

export type AddressFault = { error: 'unknown_service' | 'bad_request'; detail: string };

const SERVICE_PATH = '/service/';
const MESH_SUFFIX = '.mesh';

/** The service label of `<name>.mesh[:port]`, in lower case; null for any other host. */
function meshName(host: string): string | null {
  if (!host.includes('.')) return null;
  const colon = host.indexOf(':');
  let name = (colon === -1 ? host : host.slice(0, colon)).toLowerCase();
  if (name.endsWith('.')) name = name.slice(0, -1);
  return name.endsWith(MESH_SUFFIX) ? name.slice(0, -MESH_SUFFIX.length) : null;
}

export function isMeshHost(host: string): boolean {
  return meshName(host) !== null;
}

/** Hosts by which an absolute form can mean this very listener, and nobody else. */
function isLoopback(authority: string): boolean {
  const host = authority.toLowerCase();
  return /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(?::\d*)?$/.test(host);
}

function unknown(detail: string): AddressFault {
  return { error: 'unknown_service', detail };
}

/**
 * Finds the addressed service: absolute form, then `sidecar-service`, then `Host: <name>.mesh`, then the path.
 *
 * An absolute form for another host than a `.mesh` one or loopback is never read as a path, so that an app with
 * HTTP_PROXY set that calls `http://example.com/service/x` gets an error instead of another's answer.
 */
export function serviceAddress(
  head: { target: string; host: string; fields: RawFields; method: string },
  aliases: ReadonlyMap<string, string>,
): Addressed | AddressFault {
  if (head.method === 'CONNECT') return unknown('CONNECT addresses no service');
  let target = head.target;
  let isElsewhere = false;
  if (target.charCodeAt(0) !== 0x2f && target !== '*') {
    const absolute = splitAbsolute(target);
    if (absolute === null) return { error: 'bad_request', detail: 'a request target of no known form' };
    if (absolute.scheme.toLowerCase() !== 'http') return unknown('only http:// targets can be forwarded');
    target = originForm(absolute.rest, head.method);
    const name = meshName(absolute.authority);
    if (name !== null) return addressed(name, target, 'absolute', aliases);
    isElsewhere = !isLoopback(absolute.authority);
  }
  const named = serviceField(head.fields);
  if (named !== null) {
    if (!isServiceName(named)) {
      const detail = lowerCaseHint(named) ?? 'sidecar-service does not hold one service name';
      return { error: 'bad_request', detail };
    }
    return addressed(named, target, 'header', aliases);
  }
  if (isElsewhere) return unknown('this proxy carries http://<service>.mesh/ alone');
  const name = meshName(head.host);
  if (name !== null) return addressed(name, target, 'host', aliases);
  if (!target.startsWith(SERVICE_PATH)) {
    return unknown('no service: call /service/<name>/<path>, <name>.mesh, or set sidecar-service');
  }
  let end = SERVICE_PATH.length;
  while (end < target.length && target.charCodeAt(end) !== 0x2f && target.charCodeAt(end) !== 0x3f) end++;
  const rest = target.slice(end);
  return addressed(
    target.slice(SERVICE_PATH.length, end),
    rest.charCodeAt(0) === 0x2f ? rest : `/${rest}`,
    'path',
    aliases,
    target.slice(0, end),
  );
}

/** Path and query of an absolute form; `*` for OPTIONS of a bare authority (RFC 9112 §3.2.4). */
function originForm(rest: string, method: string): string {
  if (rest.charCodeAt(0) === 0x2f) return rest;
  return rest === '' && method === 'OPTIONS' ? '*' : `/${rest}`;
}

/** The value of sidecar-service; null when there is none; two of them join to what is no service name. */
function serviceField(fields: RawFields): string | null {
  let value: string | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length !== 15 || name.toLowerCase() !== 'sidecar-service') continue;
    value = value === null ? fields[i + 1]! : `${value},${fields[i + 1]!}`;
  }
  return value;
}

function addressed(
  name: string,
  target: string,
  how: Addressed['how'],
  aliases: ReadonlyMap<string, string>,
  prefix = '',
): Addressed | AddressFault {
  if (!isServiceName(name))
    return unknown(lowerCaseHint(name) ?? 'what stands in the place of a service name is not one');
  return { service: aliases.get(name) ?? name, target, how, prefix };
}

/** What is a name but for its capitals, which a URL keeps apart (RFC 3986 §6.2.2.1); null for anything else. */
function lowerCaseHint(name: string): string | null {
  if (name.length > MAX_NAME_LENGTH || !/^[\w.-]+$/.test(name)) return null;
  const lower = name.toLowerCase();
  return isServiceName(lower) ? `a service name is lower case: ${lower}, not ${name}` : null;
}
