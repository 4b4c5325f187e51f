/**
 * The URL of a worker: `http://`, `https://`, `h2c://` or a Unix socket, with its base path.
 *
 * A grammar of its own, since `URL` knows neither `h2c` nor a socket with a path behind it, and would take both for
 * something else without a word.
 */
import { type BaseUrl, baseUrlOf, hostHeader } from '../core/http/base-url.ts';
import type { Parser } from './option.ts';
import { shown, text, url } from './parsers.ts';

export interface WorkerUrl extends Omit<BaseUrl, 'scheme'> {
  /** As it is shown. */
  readonly url: string;
  /** `h2c`: it is spoken to in HTTP/2 without TLS. */
  readonly scheme: 'http' | 'https' | 'h2c';
  /** Where it listens in place of host and port, which are then those that it is asked by; null = there. */
  readonly socketPath: string | null;
}

const MAX_URLS = 64;

/** One, or a list of different ones. */
export const workerUrls: Parser<readonly WorkerUrl[]> = (raw) => {
  const found = (Array.isArray(raw) ? raw : [raw]).map((each) => workerUrl(each));
  if (found.length === 0) throw new Error('the list of URLs is empty');
  if (found.length > MAX_URLS) throw new Error(`more than ${MAX_URLS} URLs`);
  const seen = new Set<string>();
  for (const { url } of found) {
    if (seen.has(url)) throw new Error(`${shown(url)} is there twice`);
    seen.add(url);
  }
  return found;
};

const SCHEMES = 'http://, https://, h2c:// or unix:/';

/** What the kernel takes (`sun_path`), less its end. */
const MAX_SOCKET_PATH_BYTES = 107;

export const workerUrl: Parser<WorkerUrl> = (raw) => {
  const value = text('the URL', 2048)(raw);
  const unix = /^(?:(http|h2c)\+)?unix:(.*)$/is.exec(value);
  if (unix !== null) return unixUrl(unix[1]?.toLowerCase() === 'h2c' ? 'h2c' : 'http', unix[2] ?? '');
  const scheme = /^(https?|h2c):\/\//i.exec(value)?.[1]?.toLowerCase();
  if (scheme !== 'http' && scheme !== 'https' && scheme !== 'h2c')
    throw new Error(`${shown(raw)} is not a URL that starts with ${SCHEMES}`);
  const spoken = scheme === 'h2c' ? 'http' : scheme;
  const place = url([spoken])(`${spoken}${value.slice(scheme.length)}`);
  const base = baseUrlOf(place);
  return { ...base, scheme, socketPath: null, url: `${scheme}://${place.host}${base.basePath}` };
};

/**
 * `/run/llm.sock`, `///run/llm.sock`, with `:/base` or `:name/base` behind it as nginx writes it; or `//` and the path
 * percent-encoded, as clients of HTTP write it, with `/base`.
 */
function unixUrl(scheme: 'http' | 'h2c', rest: string): WorkerUrl {
  const encoded = /^\/\/(%2f[^/:]*)(.*)$/is.exec(rest);
  const [, plainPath = '', place = ''] = /^([^:]*)(?::(.*))?$/s.exec(rest) ?? [];
  const path = encoded === null ? plainPath.replace(/^\/{2}(?=\/)/, '') : decoded(encoded[1] ?? '');
  const where = encoded === null ? place : (encoded[2] ?? '');
  if (!/^\/[^/]/.test(path) || path.endsWith('/'))
    throw new Error(`${shown(rest)} is not the whole path of a socket (such as unix:/run/llm.sock)`);
  if (/[\u0000-\u001f\u007f:?#]/.test(path))
    throw new Error(
      `the path of the socket holds a sign that it cannot have here (control, ":", "?" or "#")`,
    );
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
    throw new Error(
      `the path of the socket is longer than the ${MAX_SOCKET_PATH_BYTES} bytes that the system takes`,
    );
  const named = where === '' || where.startsWith('/') ? `localhost${where}` : where;
  const base = baseUrlOf(url(['http'])(`http://${named}`));
  const host = hostHeader(base);
  const behind = `${host === 'localhost' ? '' : host}${base.basePath}`;
  return {
    ...base,
    scheme,
    socketPath: path,
    url: `${scheme === 'h2c' ? 'h2c+' : ''}unix:${path}${behind === '' ? '' : `:${behind}`}`,
  };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new Error('the path of the socket is not percent-encoded UTF-8');
  }
}
