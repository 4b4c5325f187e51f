/**
 * Where a service stands for the app and where for its worker, and the way from one to the other: the worker names URLs
 * by the Host that it is sent and its own paths, the app by the origin and the prefix that it called.
 *
 * What names neither is nobody's business here, and stays byte for byte.
 */
import { isIp4, isIp6, isLoopback } from '../host-port.ts';
import { isHost } from '../http/request-target.ts';
import { isMeshHost } from './service-address.ts';

/** Which Host a worker is sent: that of its URL, the one that the app sent, or one that is given. */
export type SentHost =
  | { readonly kind: 'worker' }
  | { readonly kind: 'keep' }
  | { readonly kind: 'name'; readonly name: string };

/** For one exchange. */
export interface Mount {
  /** Scheme of the worker's own URL. */
  readonly workerScheme: 'http' | 'https';
  /** Host of the worker's own URL, as a Host field says it. */
  readonly workerHost: string;
  /** Path of that URL without a slash at its end; '' for none. */
  readonly basePath: string;
  /** Host that the worker was sent. */
  readonly sentHost: string;
  /** Host that the app called, as far as the worker was told; '' when it was not. */
  readonly calledHost: string;
  /** Scheme that the app called by, as far as the worker was told. */
  readonly calledScheme: string;
  /** Path before those of the worker for the app: `/service/<name>`, or '' when it called by a host. */
  readonly prefix: string;
  /** Other instances of the worker, which it may name as well. */
  readonly siblings?: readonly Mount[];
}

interface Authority {
  /** In lower case, IPv6 in brackets. */
  readonly host: string;
  readonly port: string;
}

/** null for what is none that anybody means: with user information, or with signs that no name has. */
function authorityOf(text: string, scheme: string): Authority | null {
  const match = /^(\[[0-9a-f:.]+\]|[\w.~%-]+)(?::(\d*))?$/.exec(text.toLowerCase());
  if (match === null) return null;
  const [, host = '', port = ''] = match;
  return { host, port: port === '' ? (scheme === 'https' ? '443' : '80') : port };
}

function isSame(a: Authority, b: Authority | null): boolean {
  return b !== null && a.host === b.host && a.port === b.port;
}

/** Names by which a program on the worker's machine may call itself. */
function isItself(host: string): boolean {
  return isLoopback(host.replace(/^\[|\]$/g, '')) || host === '0.0.0.0' || host === '[::]';
}

/** Whether the worker means itself by this authority: by the URL that it is reached at, or by what it was told. */
function isOwn(scheme: string, authority: string, mount: Mount): boolean {
  const isCalled = scheme !== 'https' || mount.calledScheme === 'https';
  if (!isCalled && mount.workerScheme !== 'https') return false;
  const named = authorityOf(authority, scheme);
  if (named === null) return false;
  if (isSame(named, authorityOf(mount.sentHost, scheme))) return true;
  if (isCalled && isSame(named, authorityOf(mount.calledHost, scheme))) return true;
  const worker = authorityOf(mount.workerHost, scheme);
  if (worker === null) return false;
  return (
    isSame(named, worker) || (named.port === worker.port && isItself(worker.host) && isItself(named.host))
  );
}

/** Whether a path is `top` or below it. */
export function isUnder(path: string, top: string): boolean {
  if (!path.startsWith(top)) return false;
  const next = path.charCodeAt(top.length);
  return Number.isNaN(next) || next === 0x2f || next === 0x3f || next === 0x23; // '/', '?', '#'
}

/** A path of the worker as one of the app; null for one that the app cannot reach. */
function toAppPath(path: string, { basePath, prefix }: Mount): string | null {
  // A worker that heeds X-Forwarded-Prefix has put it there itself.
  if (prefix !== '' && isUnder(path, prefix)) return path;
  if (basePath !== '' && !isUnder(path, basePath)) return null;
  const rest = path.slice(basePath.length);
  const rooted = rest.startsWith('/') ? rest : `/${rest}`;
  // Two slashes at the start would name a host.
  return prefix === '' && /^\/[/\\]/.test(rooted) ? `/.${rooted}` : prefix + rooted;
}

/**
 * A URL that the worker sent, as the app has to call it: in the form in which it called, by the prefix or by
 * `<name>.mesh`.
 */
export function toAppUrl(url: string, mount: Mount): string {
  const match = /^(?:(https?):)?\/\/([^/?#\\]*)(.*)$/is.exec(url);
  if (match === null) {
    const isPath = url.startsWith('/') && !url.startsWith('/\\');
    return isPath ? (toAppPath(url, mount) ?? url) : url;
  }
  const [, scheme = mount.calledScheme, authority = '', rest = ''] = match;
  if (rest.startsWith('\\')) return url;
  const isOf = (each: Mount): boolean => isOwn(scheme.toLowerCase(), authority, each);
  const owner = isOf(mount) ? mount : mount.siblings?.find(isOf);
  if (owner === undefined) return url;
  const path = toAppPath(rest.startsWith('/') ? rest : `/${rest}`, owner);
  if (path === null) return url;
  return isMeshHost(mount.calledHost) && isHost(mount.calledHost)
    ? `http://${mount.calledHost}${path}`
    : path;
}

/** Whether a stranger's page cannot have its own name lead here: then who names this host is a page that came from it. */
function isUnmistakable(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '');
  return isLoopback(bare) || isIp4(bare) || isIp6(bare) || isMeshHost(host);
}

/**
 * An Origin or Referer that names what the app called, as the worker would see it if it were called itself: what is of
 * one origin stays so. Anything else is left as it is, other sites' words above all.
 */
export function toWorkerUrl(url: string, calledHost: string, mount: Mount): string {
  const match = /^(https?):\/\/([^/?#\\]*)(.*)$/is.exec(url);
  if (match === null) return url;
  const [, givenScheme = '', authority = '', rest = ''] = match;
  const scheme = givenScheme.toLowerCase();
  if (scheme === 'https' && mount.calledScheme !== 'https') return url;
  const named = authorityOf(authority, scheme);
  if (named === null || !isUnmistakable(named.host)) return url;
  if (!isSame(named, authorityOf(calledHost, scheme))) return url;
  if (rest === '') return `${mount.workerScheme}://${mount.sentHost}`;
  if (!isUnder(rest, mount.prefix)) return url;
  return `${mount.workerScheme}://${mount.sentHost}${mount.basePath}${rest.slice(mount.prefix.length)}`;
}
