/**
 * Words for a connection that could not be made, written for whoever has to mend it: what the failure means, then the
 * system's own message.
 */
import { statSync } from 'node:fs';
import { formatHostPort, type HostPort } from '../../core/host-port.ts';
import type { NameFault } from './dns-client.ts';

interface Place extends HostPort {
  readonly socketPath?: string;
}

const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused: its host is there, and nothing listens at that port',
  ECONNRESET: 'the connection broke while it was made',
  EHOSTUNREACH: 'no way to that host: is it up, and the VPN on both sides?',
  ENETUNREACH: 'no way to that network: is the VPN up here?',
  EADDRNOTAVAIL: 'this host has no address or port left to connect from',
  EMFILE: 'this sidecar has no file descriptor left: raise its limit (ulimit -n, LimitNOFILE)',
  ENOTFOUND: 'DNS knows no such name',
  EAI_AGAIN: 'DNS does not answer',
  EPROTO: 'it does not speak TLS there, or none that can be agreed on',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS there: is it http:// and not https://?',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it does not speak TLS there: is it http:// and not https://?',
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
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
]);

/** Also no certificate that is good for this, whoever signed it. */
const ILL: ReadonlySet<string> = new Set([
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
  'HOSTNAME_MISMATCH',
  'ERROR_IN_CERT_NOT_BEFORE_FIELD',
  'ERROR_IN_CERT_NOT_AFTER_FIELD',
  'EE_KEY_TOO_SMALL',
  'CA_KEY_TOO_SMALL',
  'CA_MD_TOO_WEAK',
]);

/** What these mean for a Unix socket. */
const SOCKET_MEANINGS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket: does the worker run, and is its folder mounted here?',
  ECONNREFUSED: 'nobody listens at that socket any more: the worker has ended',
  EACCES: 'this sidecar may not use that socket: it needs the right to write to it, and to enter its folders',
  EPERM: 'this sidecar may not use that socket: it needs the right to write to it, and to enter its folders',
  ENOTDIR: 'the path of the socket leads through something that is no folder',
  EPROTOTYPE: 'the socket is none of the kind that HTTP needs (SOCK_STREAM)',
  EAGAIN: 'the worker takes up no connections: its backlog is full',
};

const NO_SOCKET = 'what is there is no socket';

/** What OpenSSL says of a certificate names all that stands in it, and who made that is a stranger. */
const MAX_SAID_CHARS = 200;

/** One for each address that was tried. */
function eachOf(error: NodeJS.ErrnoException): readonly NodeJS.ErrnoException[] {
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

/** The other side's certificate is to blame, not the way there. */
export function isUntrusted({ code = '' }: NodeJS.ErrnoException): boolean {
  return UNTRUSTED.has(code) || ILL.has(code);
}

/** Not silence: its host has said so, or the system for a socket. */
export function isNobodyThere({ socketPath }: Place, { code }: NodeJS.ErrnoException): boolean {
  return code === 'ECONNREFUSED' || (socketPath !== undefined && code === 'ENOENT');
}

function ofSocket(path: string, code: string): string | undefined {
  if (code === 'ECONNREFUSED' && isOtherThanSocket(path)) return NO_SOCKET;
  return Object.hasOwn(SOCKET_MEANINGS, code) ? SOCKET_MEANINGS[code] : undefined;
}

function isOtherThanSocket(path: string): boolean {
  try {
    return !statSync(path).isSocket();
  } catch {
    return false;
  }
}

export function dialError(address: Place, error: NodeJS.ErrnoException): string {
  const tries = eachOf(error);
  const inner = tries[0] ?? error;
  const words = tries.map((each) => each.message || each.code || 'no reason given');
  const said = words.join('; ').slice(0, MAX_SAID_CHARS);
  const code = inner.code ?? '';
  if (address.socketPath !== undefined) {
    const meaning = ofSocket(address.socketPath, code) ?? `no connection to ${address.socketPath}`;
    return `${meaning} (${said})`;
  }
  if (UNTRUSTED.has(code)) return `its TLS certificate is not signed by a CA that is trusted here (${said})`;
  const meaning = Object.hasOwn(MEANINGS, code) ? MEANINGS[code] : undefined;
  if (meaning !== undefined) return `${meaning} (${said})`;
  if (ILL.has(code)) return `its TLS certificate is not good for this (${said})`;
  return `no connection to ${formatHostPort(address)} (${said})`;
}
