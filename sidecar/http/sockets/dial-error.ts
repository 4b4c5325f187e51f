/**
 * Words for a connection that could not be made, written for whoever has to mend it: what the failure means, then the
 * system's own message.
 */
import { formatHostPort, type HostPort } from '../../core/host-port.ts';
import type { NameFault } from './dns-client.ts';

const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: its host is there, and nothing listens at that port',
  ECONNRESET: 'the connection broke while it was made',
  EHOSTUNREACH: 'no way to that host: is it up, and the VPN on both sides?',
  ENETUNREACH: 'no way to that network: is the VPN up here?',
  EADDRNOTAVAIL: 'this host has no address or port left to connect from',
  EMFILE: 'this sidecar has no file descriptor left: raise its limit (ulimit -n, LimitNOFILE)',
  ENOTFOUND: 'DNS knows no such name',
  EAI_AGAIN: 'DNS does not answer',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its TLS certificate is for another name',
  CERT_HAS_EXPIRED: 'its TLS certificate has expired: or is the clock here wrong?',
  CERT_NOT_YET_VALID: 'its TLS certificate is not valid yet: or is the clock here wrong?',
};

/** Nobody trusts the one who signed it. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** What OpenSSL says of a certificate names all that stands in it, and who made that is a stranger. */
const MAX_SAID_CHARS = 200;

/** One for each address that was tried. */
export function eachOf(error: NodeJS.ErrnoException): readonly NodeJS.ErrnoException[] {
  const { errors } = error as Partial<AggregateError>;
  return Array.isArray(errors) && errors.length > 0 ? errors : [error];
}

const NAME_MEANINGS: Readonly<Record<NameFault['kind'], string>> = {
  none: 'DNS knows no such name',
  silent: 'DNS does not answer',
  failed: 'DNS cannot say where it is',
};

export function nameError({ kind, message }: NameFault): string {
  return `${NAME_MEANINGS[kind]} (${message.slice(0, MAX_SAID_CHARS)})`;
}

export function dialError(address: HostPort, error: NodeJS.ErrnoException): string {
  const tries = eachOf(error);
  const inner = tries[0] ?? error;
  const words = tries.map((each) => each.message || each.code || 'no reason given');
  const said = words.join('; ').slice(0, MAX_SAID_CHARS);
  const code = inner.code ?? '';
  if (UNTRUSTED.has(code)) return `its TLS certificate is not signed by a CA that is trusted here (${said})`;
  const meaning = Object.hasOwn(MEANINGS, code) ? MEANINGS[code] : undefined;
  if (meaning !== undefined) return `${meaning} (${said})`;
  return `no connection to ${formatHostPort(address)} (${said})`;
}
