/**
 * What carries a session of a service: a field that the worker sets in its answer and the client sends back, or a cookie.
 *
 * A worker that keeps state of a client gives it an id, and expects the client to come back with it. Where it stands is
 * all that a proxy has to know; the ids themselves are opaque.
 */
import { isSidecarHeader } from '../forwarding/sidecar-headers.ts';
import { isNamed } from './headers.ts';
import type { RawFields } from './message.ts';

/** `name` of a field is in lower case; that of a cookie is as it stands. */
export interface SessionCarrier {
  readonly kind: 'header' | 'cookie';
  readonly name: string;
}

/** None: the service has no sessions that bind a client to a worker. */
export type SessionCarriers = readonly SessionCarrier[];

export const NO_SESSIONS: SessionCarriers = [];

const MCP_HEADER = 'mcp-session-id';

/** That of MCP over HTTP (modelcontextprotocol.io, Streamable HTTP, "Session Management"). */
export const DEFAULT_CARRIERS: SessionCarriers = [{ kind: 'header', name: MCP_HEADER }];

/** What a request says of its session. */
export interface Asked {
  readonly method: string;
  readonly fields: RawFields;
}

/** What the response to it says. */
export interface Answered {
  readonly status: number;
  readonly fields: RawFields;
}

/** Longer ones are not followed. */
const MAX_ID_CHARS = 4_096;

/** So many of one message. */
const MAX_IDS = 8;

const MAX_NAME_CHARS = 64;
const MAX_CARRIERS = 4;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Carry something else, or end at each hop. */
const OTHER_FIELDS: ReadonlySet<string> = new Set([
  'cookie',
  'set-cookie',
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'via',
  'date',
]);

const NO_IDS: readonly string[] = [];

/** null when it is none. */
export function sessionCarrier(kind: string, name: string): SessionCarrier | null {
  if (name.length > MAX_NAME_CHARS || !TOKEN.test(name)) return null;
  if (kind === 'cookie') return { kind, name };
  const lowerName = name.toLowerCase();
  if (kind !== 'header' || OTHER_FIELDS.has(lowerName) || isSidecarHeader(lowerName)) return null;
  return { kind, name: lowerName };
}

/** `header=mcp-session-id,cookie=sid`; '' for none. */
export function carriersText(carriers: SessionCarriers): string {
  return carriers.map(({ kind, name }) => `${kind}=${name}`).join(',');
}

/** What `carriersText` made; null when it is not that. */
export function parseCarriers(text: string): SessionCarriers | null {
  if (text === '') return NO_SESSIONS;
  const found: SessionCarrier[] = [];
  for (const part of text.split(',', MAX_CARRIERS + 1)) {
    const at = part.indexOf('=');
    const carrier = sessionCarrier(part.slice(0, Math.max(0, at)), part.slice(at + 1));
    if (carrier === null) return null;
    found.push(carrier);
  }
  return found.length > MAX_CARRIERS ? null : found;
}

/** The ids that a request carries. */
export function sessionIdsIn(fields: RawFields, carriers: SessionCarriers): readonly string[] {
  return idsIn(fields, carriers, 'cookie', cookieValues);
}

/** The ids that a response gives, or gives again; not those that it takes away. In a field a fault may echo any id. */
export function sessionIdsGiven({ status, fields }: Answered, carriers: SessionCarriers): readonly string[] {
  const giving = status < 400 ? carriers : carriers.filter(({ kind }) => kind === 'cookie');
  return idsIn(fields, giving, 'set-cookie', givenCookie);
}

/**
 * The ids of sessions that are over: the client has ended them, or the worker does not know them. Only MCP says how
 * that is told; a 404 of others is about a page.
 */
export function sessionIdsEnded(
  { method, fields }: Asked,
  { status }: Answered,
  carriers: SessionCarriers,
): readonly string[] {
  if (status !== 404 && (method !== 'DELETE' || status < 200 || status > 299)) return NO_IDS;
  return carriers.some(({ name }) => name === MCP_HEADER) ? sessionIdsIn(fields, DEFAULT_CARRIERS) : NO_IDS;
}

function idsIn(
  fields: RawFields,
  carriers: SessionCarriers,
  cookieField: string,
  valuesOf: (field: string, name: string) => readonly string[],
): readonly string[] {
  let ids: string[] | null = null;
  for (const { kind, name } of carriers) {
    const fieldName = kind === 'header' ? name : cookieField;
    for (let i = 0; i < fields.length; i += 2) {
      if (!isNamed(fields[i]!, fieldName)) continue;
      const value = fields[i + 1]!;
      const found = kind === 'header' ? [value] : valuesOf(value, name);
      for (const id of found) {
        if (id === '' || id.length > MAX_ID_CHARS) continue;
        ids ??= [];
        if (ids.length < MAX_IDS && !ids.includes(id)) ids.push(id);
      }
    }
  }
  return ids ?? NO_IDS;
}

/** Of one Cookie field (RFC 6265 §4.2.1). Of the same name there may be several, of different paths. */
function cookieValues(field: string, name: string): readonly string[] {
  if (!field.includes(name)) return NO_IDS;
  const values: string[] = [];
  for (const pair of field.split(';')) {
    const value = cookieValue(pair, name);
    if (value !== null) values.push(value);
  }
  return values;
}

/** Of one Set-Cookie field (RFC 6265 §5.2); none where it takes the cookie away. */
function givenCookie(field: string, name: string): readonly string[] {
  const end = field.indexOf(';');
  const value = cookieValue(end < 0 ? field : field.slice(0, end), name);
  if (value === null || (end >= 0 && /;[ \t]*max-age[ \t]*=[ \t]*(?:-\d|0+[ \t]*(?:;|$))/i.test(field)))
    return NO_IDS;
  return [value];
}

/** Clients give quotes back or leave them out. */
function cookieValue(pair: string, name: string): string | null {
  const at = pair.indexOf('=');
  if (at < 0 || pair.slice(0, at).trim() !== name) return null;
  const value = pair.slice(at + 1).trim();
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}
