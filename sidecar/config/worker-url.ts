/**
 * The URL of a worker: where it listens, its base path, and by its scheme the version of HTTP it is spoken to in.
 *
 * `h2c` is no scheme that `URL` knows, and a worker that speaks both versions needs somebody to choose: gRPC works in
 * HTTP/2 only, most others know HTTP/1.1 only. It must not know the service.
 */
import type { Parser } from './option.ts';
import { shown, text, url } from './parsers.ts';

export interface WorkerUrl {
  /** As it is shown. */
  readonly url: string;
  readonly scheme: 'http' | 'h2c';
  readonly host: string;
  readonly port: number;
  /** Without a trailing slash; '' for none. */
  readonly basePath: string;
}

export const workerUrl: Parser<WorkerUrl> = (raw) => {
  const value = text('the URL', 2048)(raw);
  const scheme = /^(http|h2c):\/\//i.exec(value)?.[1]?.toLowerCase();
  if (scheme !== 'http' && scheme !== 'h2c') {
    throw new Error(`${shown(raw)} is not a URL that starts with http:// or h2c://`);
  }
  const place = url(['http'])(`http${value.slice(scheme.length)}`);
  const basePath = place.pathname.replace(/\/+$/, '');
  return {
    url: `${scheme}://${place.host}${basePath}`,
    scheme,
    host: place.hostname.startsWith('[') ? place.hostname.slice(1, -1) : place.hostname,
    port: place.port === '' ? 80 : Number(place.port),
    basePath,
  };
};
