/**
 * The fields that name URLs of one's own origin: those of a response as the app has to read them, those of a request as
 * the worker has to.
 *
 * Looked for by the lengths of their names, so that a message that has none of them pays for a comparison each.
 */
import { isNamed } from '../http/headers.ts';
import { trimOws } from '../http/http1-syntax.ts';
import type { RawFields } from '../http/message.ts';
import { isUnder, type Mount, toAppUrl, toWorkerUrl } from './mount.ts';

type ResponseField = 'url' | 'refresh' | 'cookie';

function responseField(name: string): ResponseField | null {
  switch (name.length) {
    case 7:
      return isNamed(name, 'refresh') ? 'refresh' : null;
    case 8:
      return isNamed(name, 'location') ? 'url' : null;
    case 10:
      return isNamed(name, 'set-cookie') ? 'cookie' : null;
    case 16:
      return isNamed(name, 'content-location') ? 'url' : null;
    default:
      return null;
  }
}

/** Whether there is anything for `mapResponse` to do. */
export function namesUrls(fields: RawFields): boolean {
  for (let i = 0; i < fields.length; i += 2) if (responseField(fields[i]!) !== null) return true;
  return false;
}

/** In place. */
export function mapResponse(fields: RawFields, mount: Mount): void {
  for (let i = 0; i < fields.length; i += 2) {
    const value = fields[i + 1]!;
    switch (responseField(fields[i]!)) {
      case 'url':
        fields[i + 1] = toAppUrl(value, mount);
        break;
      case 'refresh':
        fields[i + 1] = toAppRefresh(value, mount);
        break;
      case 'cookie':
        fields[i + 1] = toAppCookie(value, mount);
        break;
    }
  }
}

function isOfPage(name: string): boolean {
  return (name.length === 6 && isNamed(name, 'origin')) || (name.length === 7 && isNamed(name, 'referer'));
}

/** Whether a page says where it comes from. */
export function namesPage(fields: RawFields): boolean {
  for (let i = 0; i < fields.length; i += 2) if (isOfPage(fields[i]!)) return true;
  return false;
}

/** In place. `calledHost`: the Host of the page's request. */
export function mapRequest(fields: RawFields, calledHost: string, mount: Mount): void {
  for (let i = 0; i < fields.length; i += 2) {
    if (isOfPage(fields[i]!)) fields[i + 1] = toWorkerUrl(fields[i + 1]!, calledHost, mount);
  }
}

/** `5; url=…`, as browsers read it: the URL with or without its name, in either quotes or in none. */
function toAppRefresh(value: string, mount: Mount): string {
  const match = /^([\d.]*[ \t]*[;,]?[ \t]*(?:url[ \t]*=[ \t]*)?)(["']?)(.*)$/is.exec(value);
  const [, before = '', quote = '', rest = ''] = match ?? [];
  const end = quote === '' ? -1 : rest.indexOf(quote);
  const url = end === -1 ? rest : rest.slice(0, end);
  return `${before}${quote}${toAppUrl(url, mount)}${end === -1 ? '' : rest.slice(end)}`;
}

/**
 * A cookie for the worker's own paths alone, also where others share the origin that the app called. One for the
 * worker's own host is one for whatever host the app called. `__Host-` promises the path `/`, and keeps it.
 */
function toAppCookie(cookie: string, mount: Mount): string {
  const end = cookie.indexOf(';');
  if (end === -1) return cookie;
  const keepsPath = /^[ \t]*__host-/i.test(cookie);
  const kept = [cookie.slice(0, end)];
  for (const attribute of cookie.slice(end + 1).split(';')) {
    const equals = attribute.indexOf('=');
    const name = equals === -1 ? '' : trimOws(attribute.slice(0, equals)).toLowerCase();
    const value = equals === -1 ? '' : trimOws(attribute.slice(equals + 1));
    if (name === 'domain' && isOwnDomain(value, mount)) continue;
    const isMapped = name === 'path' && value.startsWith('/') && !keepsPath;
    kept.push(isMapped ? `${attribute.slice(0, equals + 1)}${toAppCookiePath(value, mount)}` : attribute);
  }
  return kept.join(';');
}

function toAppCookiePath(path: string, { basePath, prefix }: Mount): string {
  if (prefix !== '' && isUnder(path, prefix)) return path;
  const isAbove = path === '/' || isUnder(basePath, path.replace(/\/$/, ''));
  if (basePath !== '' && !isAbove && !isUnder(path, basePath)) return path;
  const rest = isAbove ? '/' : path.slice(basePath.length);
  return prefix + rest === '' ? '/' : prefix + rest;
}

/** Browsers refuse a cookie of a domain that they did not call. */
function isOwnDomain(domain: string, { calledHost, sentHost, workerHost }: Mount): boolean {
  const name = domain.replace(/^\./, '').toLowerCase();
  return name !== hostOf(calledHost) && (name === hostOf(sentHost) || name === hostOf(workerHost));
}

function hostOf(hostField: string): string {
  return hostField.replace(/:\d*$/, '').toLowerCase();
}
