/**
 * `host:port` as text: IPv4, `[IPv6]` or a host name, with the port always said.
 *
 * Apart from `URL`, which fills in ports, lower-cases and accepts `0x7f.1` for 127.0.0.1: a listener must bind exactly
 * what was written.
 */
import { isIP } from 'node:net';

export interface HostPort {
  /** Without brackets. '' when the text gave a port alone (`:8000`, `8000`). */
  readonly host: string;
  readonly port: number;
}

const NAME_LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** Four decimal numbers 0–255 without leading zeros (which some resolvers read as octal). */
export function isIp4(host: string): boolean {
  return isIP(host) === 4;
}

/** RFC 4291 §2.2 text, without a zone, which means something on one host only. */
export function isIp6(host: string): boolean {
  return isIP(host) === 6 && !host.includes('%');
}

/** A name for DNS or a hosts file; not a number in disguise (`127.1`, `0x7f000001`). */
export function isHostName(host: string): boolean {
  if (host.length === 0 || host.length > 253) return false;
  const labels = host.split('.');
  const last = labels[labels.length - 1] ?? '';
  return labels.every((label) => NAME_LABEL.test(label)) && !/^(?:\d+|0x[0-9a-f]*)$/i.test(last);
}

/** Null when the text is not of the form, or the port is not 0–65535. */
export function parseHostPort(text: string): HostPort | null {
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d{1,5})$/.exec(text.trim());
  if (match === null) return null;
  const written = match[1] ?? '';
  const port = Number(match[2]);
  if (port > 65535) return null;
  if (written === '') return { host: '', port };
  const host = written.startsWith('[') ? written.slice(1, -1) : written;
  const valid = written.startsWith('[') ? isIp6(host) : isIp4(host) || isHostName(host);
  return valid ? { host, port } : null;
}

/** The text that parses back to the same parts. */
export function formatHostPort(address: HostPort): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** What `localhost` means, whatever the resolver of a host makes of it (RFC 6761 §6.3). */
export const LOOPBACKS = ['127.0.0.1', '::1'] as const;

/** The addresses that a text stands for: of `localhost` both. */
export function addressesOf({ host, port }: HostPort): readonly HostPort[] {
  const hosts = host.toLowerCase() === 'localhost' ? LOOPBACKS : [host];
  return hosts.map((each) => ({ host: each, port }));
}

/** Whether only this host can reach a listener there: 127.0.0.0/8, ::1 and `localhost`. */
export function isLoopback(host: string): boolean {
  if (isIp4(host)) return host.startsWith('127.');
  const lower = host.toLowerCase();
  return lower === '::1' || lower === 'localhost' || lower.endsWith('.localhost');
}
