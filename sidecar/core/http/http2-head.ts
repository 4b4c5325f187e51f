/**
 * HTTP/2 heads (RFC 9113 §8) in the form that the rest of the proxy knows: a `RequestHead` from pseudo-header fields,
 * and fields without what HTTP/2 forbids.
 *
 * node:http2 has already checked names, order and connection-specific fields. What it leaves open (targets,
 * authorities, limits) is judged here by the rules of HTTP/1.1, because the message may go on in that version.
 */
import { contentLength } from './http1-framing.ts';
import type { HeadFaultCode } from './http1-request-head.ts';
import { BYTE_CLASS, isToken, TARGET, trimOws } from './http1-syntax.ts';
import type { Framing, HeadLimits, RawFields, RequestHead } from './message.ts';
import { isAuthorityForm, isHost } from './request-target.ts';

/** `malformed` is a stream error (RFC 9113 §8.1.1); `refused` is well-formed and gets a response with this code. */
export type Http2Request =
  | { readonly kind: 'head'; readonly head: RequestHead }
  | { readonly kind: 'malformed'; readonly detail: string }
  | { readonly kind: 'refused'; readonly code: HeadFaultCode; readonly detail: string };

/** What a field counts beyond its name and value (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE). */
const FIELD_OVERHEAD_BYTES = 32;
const MAX_METHOD_BYTES = 64;

function malformed(detail: string): Http2Request {
  return { kind: 'malformed', detail };
}

function refused(code: HeadFaultCode, detail: string): Http2Request {
  return { kind: 'refused', code, detail };
}

/** Flat raw fields with pseudo-header fields → head; `isEnded`: the header section also ended the stream. */
export function readHttp2Request(raw: readonly string[], isEnded: boolean, limits: HeadLimits): Http2Request {
  let method = '';
  let target = '';
  let scheme = '';
  let authority: string | null = null;
  let host: string | null = null;
  let bytes = -1;
  let expectContinue = false;
  let cookieAt = -1;
  const fields: RawFields = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    switch (name) {
      case ':method':
        method = value;
        continue;
      case ':path':
        target = value;
        continue;
      case ':scheme':
        scheme = value;
        continue;
      case ':authority':
        authority = value;
        continue;
      case 'host':
        if (host !== null) return malformed('more than one Host');
        host = value;
        break;
      case 'content-length':
        bytes = contentLength(value);
        if (bytes === -1) return malformed('a Content-Length that is not one number');
        break;
      case 'expect':
        expectContinue ||= value.toLowerCase() === '100-continue';
        break;
      case 'cookie':
        // Crumbs of one field (RFC 9113 §8.2.3); other versions know one Cookie only.
        if (cookieAt >= 0) {
          fields[cookieAt] = `${fields[cookieAt]!}; ${value}`;
          continue;
        }
        cookieAt = fields.length + 1;
        break;
      default:
        if (name.charCodeAt(0) === 0x3a) return malformed('a pseudo-header field that is not known');
    }
    fields.push(name, value);
  }
  if (listBytes(raw) > limits.maxHeadBytes)
    return refused('headers_too_large', 'the head is larger than allowed');
  if (fields.length > 2 * limits.maxFields)
    return refused('headers_too_large', 'more header fields than allowed');
  if (!isToken(method)) return malformed('a method that is not a token');
  if (method.length > MAX_METHOD_BYTES) return refused('not_supported', 'a method of unknown length');
  const effective = effectiveHost(authority, host);
  if (effective === null) return malformed(':authority and Host are missing, malformed or differ');
  const isConnect = method === 'CONNECT';
  if (isConnect && !isAuthorityForm(effective)) return malformed('an :authority that CONNECT cannot have');
  if (!isConnect) {
    if (target.length > limits.maxTargetBytes)
      return refused('uri_too_long', 'the request target is longer than allowed');
    if (!isPath(target, method)) return malformed('a :path that is no path');
    if (scheme !== 'http' && scheme !== 'https') return refused('bad_request', 'a :scheme other than http');
  }
  return {
    kind: 'head',
    head: {
      method,
      target: isConnect ? effective : target,
      minor: 1,
      fields,
      framing: framing(isEnded, bytes),
      keepAlive: true,
      upgrade: null,
      expectContinue,
      host: effective,
    },
  };
}

/** RFC 9113 §8.3.1: one of the two, not empty; both only if they say the same. */
function effectiveHost(authority: string | null, host: string | null): string | null {
  const effective = authority ?? host;
  if (effective === null || effective === '' || !isHost(effective)) return null;
  if (host !== null && host.toLowerCase() !== effective.toLowerCase()) return null;
  return effective;
}

function isPath(target: string, method: string): boolean {
  if (target === '*') return method === 'OPTIONS';
  if (target.charCodeAt(0) !== 0x2f) return false;
  for (let i = 0; i < target.length; i++) {
    const unit = target.charCodeAt(i);
    if (unit > 0xff || (BYTE_CLASS[unit]! & TARGET) === 0) return false;
  }
  return true;
}

function framing(isEnded: boolean, bytes: number): Framing {
  if (isEnded) return { kind: 'none' };
  return bytes >= 0 ? { kind: 'length', bytes } : { kind: 'chunked' };
}

/** What HTTP/2 has no place for (RFC 9113 §8.2.2), and Host, which `:authority` carries. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  'connection',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** Lower-case name → value, or values in their order. */
export type Http2List = Record<string, string | string[]>;

/**
 * Adds fields to an HTTP/2 header list: names in lower case, several values of one name as an array in their order.
 * Leaves out what HTTP/2 forbids; of TE only `trailers` stays.
 */
export function addHttp2Fields(list: Http2List, fields: RawFields): void {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase();
    const value = fields[i + 1]!;
    if (FORBIDDEN.has(name) || (name === 'te' && trimOws(value).toLowerCase() !== 'trailers')) continue;
    const earlier = list[name];
    if (earlier === undefined) list[name] = value;
    else if (typeof earlier === 'string') list[name] = [earlier, value];
    else earlier.push(value);
  }
}

/** An empty header list, without a prototype: `__proto__` is a field name like any other. */
export function http2List(): Http2List {
  return Object.create(null) as Http2List;
}

/** Size of a header list as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 §6.5.2). */
export function listBytes(raw: readonly string[]): number {
  let bytes = 0;
  for (let i = 0; i < raw.length; i += 2) {
    bytes += raw[i]!.length + raw[i + 1]!.length + FIELD_OVERHEAD_BYTES;
  }
  return bytes;
}

/** The highest status that node:http2 sends; a client has to take what is beyond for a 5xx (RFC 9110 §15). */
const MAX_STATUS = 599;

/** A response's status as HTTP/2 carries it. */
export function http2Status(status: number): number {
  return status > MAX_STATUS ? 500 : status;
}

/** Fields without pseudo-header fields. */
export function withoutPseudoFields(raw: readonly string[]): RawFields {
  const fields: RawFields = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.charCodeAt(0) !== 0x3a) fields.push(raw[i]!, raw[i + 1]!);
  }
  return fields;
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** `partial`: all bytes given fit, more must come. */
export function prefaceIn(bytes: Buffer): 'whole' | 'partial' | 'none' {
  const length = Math.min(bytes.length, PREFACE.length);
  if (PREFACE.compare(bytes, 0, length, 0, length) !== 0) return 'none';
  return length === PREFACE.length ? 'whole' : 'partial';
}
