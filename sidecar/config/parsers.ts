/**
 * The parsers of option values: raw text, number, boolean or list → value, or an Error in plain words.
 *
 * Every source goes through the same parser, so that `SIDECAR_X=4`, `--x 4` and `x: 4` mean the same. An error shows
 * the start of the value it is about, except where that could hold a secret. They must not know the name of an option:
 * the caller puts the variable, argument or key in front.
 */
import { BlockList } from 'node:net';
import { parseByteSize, parseDuration } from '../core/amounts.ts';
import type { HostPort } from '../core/host-port.ts';
import { isHostName, isIp4, isIp6, parseHostPort } from '../core/host-port.ts';
import { canonicalOrigin, hostNameOf, type PageOrigins } from '../core/http/web-pages.ts';
import { nearestWord } from '../core/nearest-word.ts';
import { networkOf, type Reach } from './address-reach.ts';
import type { Parser } from './option.ts';

const MAX_LISTENERS = 16;

/** How a value is shown in an error; `@` marks the place where a URL keeps its password. */
export function shown(raw: unknown): string {
  if (typeof raw === 'string') {
    if (raw.includes('@')) return 'the value';
    return JSON.stringify(raw.length > 60 ? `${raw.slice(0, 60)}…` : raw);
  }
  if (typeof raw === 'number' || typeof raw === 'boolean') return String(raw);
  if (Array.isArray(raw)) return 'a list';
  return raw === null || raw === undefined ? 'nothing' : 'a mapping';
}

/** Non-empty text of visible characters and single spaces; `what` names it in the error. */
export function text(what: string, maxLength = 1024): Parser<string> {
  return (raw) => {
    if (typeof raw === 'number' || typeof raw === 'boolean') {
      throw new Error(`${what} is read as a ${typeof raw} here; put it in quotes`);
    }
    if (typeof raw !== 'string') throw new Error(`${what} must be text, not ${shown(raw)}`);
    const value = raw.trim();
    if (value === '') throw new Error(`${what} is empty`);
    if (value.length > maxLength) throw new Error(`${what} is longer than ${maxLength} characters`);
    if (/[\u0000-\u001f\u007f]/.test(value)) throw new Error(`${what} holds control characters`);
    return value;
  };
}

function numberIn(raw: unknown, parse: (value: string) => number | null, wanted: string): number {
  const value = typeof raw === 'number' ? String(raw) : raw;
  if (typeof value !== 'string') throw new Error(`expected ${wanted}, not ${shown(raw)}`);
  const parsed = parse(value);
  if (parsed === null) throw new Error(`${shown(raw)} is not ${wanted}`);
  return parsed;
}

/** A length of time between two others; the result is in ms. */
export function duration(least: string, most: string): Parser<number> {
  const leastMs = parseDuration(least) ?? 0;
  const mostMs = parseDuration(most) ?? Number.POSITIVE_INFINITY;
  return (raw) => {
    if (/^\d+$/.test(String(raw).trim()) && Number(raw) !== 0) {
      throw new Error(`${shown(raw)} has no unit; write ${Number(raw)}s or ${Number(raw)}ms`);
    }
    const ms = numberIn(raw, parseDuration, 'a length of time (such as 500ms, 60s or 10m)');
    if (ms < leastMs || ms > mostMs) throw new Error(`${shown(raw)} is not between ${least} and ${most}`);
    return ms;
  };
}

/** An amount of data between two others; the result is in bytes. */
export function byteSize(least: string, most: string): Parser<number> {
  const leastBytes = parseByteSize(least) ?? 0;
  const mostBytes = parseByteSize(most) ?? Number.POSITIVE_INFINITY;
  return (raw) => {
    const bytes = numberIn(raw, parseByteSize, 'an amount of data (such as 65536 or 64KiB)');
    if (bytes < leastBytes || bytes > mostBytes)
      throw new Error(`${shown(raw)} is not between ${least} and ${most}`);
    return bytes;
  };
}

export function integer(least: number, most: number): Parser<number> {
  const wanted = `a whole number from ${least} to ${most}`;
  return (raw) => {
    const value = numberIn(raw, (s) => (/^\s*\d{1,15}\s*$/.test(s) ? Number(s) : null), wanted);
    if (value < least || value > most) throw new Error(`${shown(raw)} is not ${wanted}`);
    return value;
  };
}

export function decimal(least: number, most: number): Parser<number> {
  const wanted = `a number from ${least} to ${most}`;
  return (raw) => {
    const value = numberIn(
      raw,
      (s) => (/^\s*\d{1,15}(?:\.\d{1,15})?\s*$/.test(s) ? Number(s) : null),
      wanted,
    );
    if (value < least || value > most) throw new Error(`${shown(raw)} is not ${wanted}`);
    return value;
  };
}

export const flag: Parser<boolean> = (raw) => {
  if (raw === true || raw === 'true') return true;
  if (raw === false || raw === 'false') return false;
  throw new Error(`${shown(raw)} is neither true nor false`);
};

export function oneOf<T extends string>(words: readonly T[]): Parser<T> {
  return (raw) => {
    const found = words.find((word) => word === raw);
    if (found !== undefined) return found;
    const near = typeof raw === 'string' ? nearestWord(raw, words) : null;
    const hint = near === null ? '' : `; did you mean ${near}?`;
    throw new Error(`${shown(raw)} is not one of ${words.join(', ')}${hint}`);
  };
}

/** The word `none`, which says "nothing" where unset would mean "find it out", or what the parser takes. */
export function orNone<T>(parse: Parser<T>): Parser<T | 'none'> {
  return (raw) => (raw === 'none' ? 'none' : parse(raw));
}

/** `host:port`; a port alone gets `defaultHost`, and '' as that means "decided later". */
export function hostPort(defaultHost: string): Parser<HostPort> {
  return (raw) => {
    const value = typeof raw === 'number' ? String(raw) : raw;
    const parsed = typeof value === 'string' ? parseHostPort(value) : null;
    if (parsed === null) {
      throw new Error(`${shown(raw)} is not host:port (such as 127.0.0.1:8010 or [::1]:8010)`);
    }
    return { host: parsed.host === '' ? defaultHost : parsed.host, port: parsed.port };
  };
}

/** One or several of them. */
export function hostPorts(defaultHost: string): Parser<readonly HostPort[]> {
  const each = hostPort(defaultHost);
  const several = list(each);
  return (raw) => {
    const found = typeof raw === 'number' ? [each(raw)] : several(raw);
    if (found.length === 0) throw new Error('no host:port is given');
    if (found.length > MAX_LISTENERS) throw new Error(`more than ${MAX_LISTENERS} addresses`);
    return found;
  };
}

/** Items of a list in the file, or text split at commas. */
export function list<T>(parse: Parser<T>): Parser<readonly T[]> {
  return (raw) => {
    const items = typeof raw === 'string' ? raw.split(',').map((item) => item.trim()) : raw;
    if (!Array.isArray(items)) throw new Error(`expected a list, or text with commas, not ${shown(raw)}`);
    if (items.length > 1000) throw new Error('the list has more than 1000 entries');
    return items.filter((item) => item !== '').map((item) => parse(item));
  };
}

/** Pairs of a mapping in the file (a Map here), or text of the form `a=1,b=2`. */
export function pairs(raw: unknown, form: string): readonly (readonly [string, unknown])[] {
  if (raw instanceof Map) return [...raw.entries()].map(([key, value]) => [String(key), value] as const);
  if (typeof raw !== 'string')
    throw new Error(`expected a mapping, or text of the form ${form}, not ${shown(raw)}`);
  const found: (readonly [string, string])[] = [];
  for (const item of raw.split(',')) {
    const pair = item.trim();
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (at < 1) throw new Error(`${shown(pair)} is not of the form ${form}`);
    found.push([pair.slice(0, at).trim(), pair.slice(at + 1).trim()]);
  }
  return found;
}

/** IPv4, or IPv6 as the system writes it. */
export const ipAddress: Parser<string> = (raw) => {
  const value = typeof raw === 'string' ? raw.trim() : '';
  if (isIp4(value)) return value;
  if (isIp6(value)) return new URL(`http://[${value}]`).hostname.slice(1, -1);
  throw new Error(`${shown(raw)} is not an IP address`);
};

/** `10.42.0.0/16`; the result is the text. */
export const cidr: Parser<string> = (raw) => {
  if (typeof raw === 'string' && subnetOf(raw.trim()) !== null) return raw.trim();
  throw new Error(`${shown(raw)} is not a network (such as 10.42.0.0/16 or fd42::/16)`);
};

/** A test for "is in this network"; null when the text is not one. */
export function subnetOf(network: string): ((address: string) => boolean) | null {
  const match = /^([0-9a-f.:]{2,45})\/(0|[1-9]\d{0,2})$/i.exec(network);
  const base = match?.[1] ?? '';
  const prefix = Number(match?.[2]);
  const blocks = new BlockList();
  if (isIp4(base) && prefix <= 32) {
    blocks.addSubnet(base, prefix, 'ipv4');
    return (address) => isIp4(address) && blocks.check(address, 'ipv4');
  }
  if (!isIp6(base) || prefix > 128) return null;
  blocks.addSubnet(base, prefix, 'ipv6');
  return (address) => isIp6(address) && blocks.check(address, 'ipv6');
}

/** An http(s) URL with nothing in it but scheme, host, port and path; the error never repeats it. */
export function url(schemes: readonly ('http' | 'https')[]): Parser<URL> {
  const wanted = schemes.map((scheme) => `${scheme}://`).join(' or ');
  return (raw) => {
    const value = text('the URL', 2048)(raw);
    const parsed = URL.canParse(value) ? new URL(value) : null;
    const scheme = parsed?.protocol.slice(0, -1);
    if (parsed === null || !schemes.some((known) => known === scheme) || !/^[a-z]+:\/\/[^/?#]/i.test(value)) {
      throw new Error(`${shown(raw)} is not a URL that starts with ${wanted}`);
    }
    if (parsed.username !== '' || parsed.password !== '')
      throw new Error('the URL must not hold a user or password');
    if (value.includes('?') || value.includes('#'))
      throw new Error('the URL must end with its path: no ? and no #');
    return parsed;
  };
}

/** A host name alone, in lower case; addresses need none. */
export const calledName: Parser<string> = (raw) => {
  if (typeof raw === 'string' && !raw.includes(':')) {
    const name = hostNameOf(raw.trim());
    if (isHostName(name)) return name;
  }
  throw new Error(`${shown(raw)} is not the name of a host (without http:// and port)`);
};

const originWord: Parser<string> = (raw) => {
  const text = typeof raw === 'string' ? raw.trim() : '';
  if (text === '*' || text === 'loopback' || text === 'none') return text;
  const origin = canonicalOrigin(text);
  if (origin !== null) return origin;
  throw new Error(
    `${shown(raw)} is not the origin of a page (such as https://app.example.org or http://10.0.0.5:3000), nor loopback, * or none`,
  );
};

export const pageOrigins: Parser<PageOrigins> = (raw) => {
  const words = list(originWord)(raw);
  if (words.length === 0) throw new Error('no origin is given; "none" says that');
  if (words.includes('none') && words.length > 1) throw new Error('"none" stands alone');
  const listed = new Set(words.filter((each) => each === 'null' || each.includes('://')));
  return { any: words.includes('*'), loopback: words.includes('loopback'), listed };
};

/** A reach in words, or a test for one network. */
export const tunnelPlace: Parser<Exclude<Reach, 'public'> | ((address: string) => boolean)> = (raw) => {
  const value = typeof raw === 'string' ? raw.trim() : '';
  if (value === 'loopback' || value === 'link-local' || value === 'private') return value;
  const network = networkOf(value);
  if (network !== null) return network;
  throw new Error(`${shown(raw)} is not loopback, link-local, private or a network (such as 10.1.0.0/16)`);
};
