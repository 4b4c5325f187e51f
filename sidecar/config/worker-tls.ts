/**
 * TLS to a worker as it is configured: its files are tried at the start, so that a mistake in them is one of the
 * configuration and not of the first request.
 */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { WorkerTlsConfig } from './config.ts';
import type { ValuesOf } from './option.ts';
import { shown } from './parsers.ts';
import type { Problems } from './problems.ts';
import type { SERVICE_SCHEMA } from './service-schema.ts';
import type { ReadText } from './sources.ts';
import type { WorkerUrl } from './worker-url.ts';

/** Where the rules report to, and what they read files with. */
export interface FileContext {
  readonly readText: ReadText;
  readonly problems: Problems;
  readonly warnings: string[];
}

/** null: no URL is https. `label`: where a key of the service is. */
export function workerTls(
  { ca, cert, key, name, insecure }: ValuesOf<typeof SERVICE_SCHEMA.tls>,
  urls: readonly WorkerUrl[],
  label: (key: string) => string,
  { readText, problems, warnings }: FileContext,
): WorkerTlsConfig | null {
  const secure = urls.filter(({ scheme }) => scheme === 'https');
  if (secure.length === 0) {
    if ((ca ?? cert ?? key ?? name) !== null || insecure)
      problems.add(label('tls'), 'is for workers of https:// alone');
    return null;
  }
  const read = (path: string | null, at: string, kind: 'CERTIFICATE' | 'KEY'): string | undefined => {
    if (path === null) return undefined;
    const content = problems.attempt(`${label(at)} ${shown(path)}`, () => readText(path));
    if (content === undefined || new RegExp(`-----BEGIN [A-Z ]*${kind}-----`).test(content)) return content;
    const what = kind === 'KEY' ? 'private key' : 'certificate';
    problems.add(label(at), `${shown(path)} holds no ${what} in PEM`);
    return undefined;
  };
  const files = {
    ca: read(ca, 'tls.ca', 'CERTIFICATE'),
    cert: read(cert, 'tls.cert', 'CERTIFICATE'),
    key: read(key, 'tls.key', 'KEY'),
  };
  if ((cert === null) !== (key === null))
    problems.add(
      label(cert === null ? 'tls.cert' : 'tls.key'),
      'is missing: a certificate and its key go together',
    );
  const { ca: cas, cert: own, key: ownKey } = files;
  if (cas !== undefined)
    tryOut(() => new X509Certificate(cas), label('tls.ca'), 'is no certificate', problems);
  if (own !== undefined && ownKey !== undefined) {
    const both = (): unknown => createSecureContext({ cert: own, key: ownKey });
    tryOut(both, label('tls.cert'), 'cannot be used with its key', problems);
  }
  if (insecure) {
    const which = secure.map(({ url }) => url).join(', ');
    warnings.push(
      `${label('tls.insecure')}: the certificate of ${which} is NOT checked: whoever answers there gets the requests`,
    );
  }
  return { caFile: ca, certFile: cert, keyFile: key, serverName: name, isVerified: !insecure };
}

function tryOut(use: () => unknown, where: string, what: string, problems: Problems): void {
  try {
    use();
  } catch (error) {
    // OpenSSL's own words name no secret.
    const why = error instanceof Error ? error.message : 'unknown fault';
    problems.add(where, `${what} (${why})`);
  }
}
