/**
 * What the files of a host say of names: which addresses /etc/hosts gives, which names /etc/resolv.conf makes of a
 * short one, and whether /etc/nsswitch.conf names a source that is neither of the two.
 *
 * As the resolver of libc reads them (hosts(5), resolv.conf(5), nsswitch.conf(5)): a line that says nothing is skipped,
 * since a typing error in one must not cost the others their names.
 */
import { isIP } from 'node:net';

export interface SearchRules {
  /** Domains to be appended, in their order, without dots at either end. */
  readonly domains: readonly string[];
  /** A name with at least so many dots is tried as it is first. */
  readonly dots: number;
}

/** resolv.conf(5): what is above counts as this. */
const MAX_DOTS = 15;

/** Each is a question to DNS for each name. More than glibc took before 2.26, and than Kubernetes permits. */
const MAX_DOMAINS = 32;

/** The longest name there is, in text (RFC 1035 §2.3.4). */
const MAX_NAME_CHARS = 253;

/** Lower-cased name → its addresses, in the order of the file. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const byName = new Map<string, string[]>();
  for (const [address = '', ...names] of lines(text, /#/)) {
    if (isIP(address) === 0) continue;
    for (const name of names) {
      const key = nameKey(name);
      const known = byName.get(key);
      if (known === undefined) byName.set(key, [address]);
      else if (!known.includes(address)) known.push(address);
    }
  }
  return byName;
}

/** As names are compared: case and the dot of the root say nothing. */
export function nameKey(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** The last `search` or `domain` counts, and the last `ndots`. */
export function parseSearchRules(text: string): SearchRules {
  let domains: string[] = [];
  let dots = 1;
  for (const [word, ...rest] of lines(text, /[#;]/)) {
    if (word === 'search' || word === 'domain') {
      const given = word === 'domain' ? rest.slice(0, 1) : rest;
      domains = given.map(nameKey).filter((domain) => domain !== '');
    } else if (word === 'options') {
      for (const option of rest) {
        const said = /^ndots:(\d{1,9})$/.exec(option)?.[1];
        if (said !== undefined) dots = Math.min(MAX_DOTS, Number(said));
      }
    }
  }
  return { domains: domains.slice(0, MAX_DOMAINS), dots };
}

/** The names to ask DNS for, one after the other. One that ends with a dot is whole. */
export function searchedNames(name: string, { domains, dots }: SearchRules): string[] {
  const whole = nameKey(name);
  if (name.endsWith('.')) return [whole];
  const searched = domains
    .map((domain) => `${whole}.${domain}`)
    .filter(({ length }) => length <= MAX_NAME_CHARS);
  const isTriedFirst = whole.split('.').length - 1 >= dots;
  return isTriedFirst ? [whole, ...searched] : [...searched, whole];
}

/**
 * Whether some source besides /etc/hosts and DNS knows names here (mDNS, a directory service), which only libc can ask.
 * `text`: null = there is no such file, and then there are only those two.
 */
export function hasOtherSources(text: string | null): boolean {
  for (const [word, ...sources] of lines(text ?? '', /#/)) {
    if (word !== 'hosts:') continue;
    return sources.some((source) => /^[a-z]/.test(source) && source !== 'files' && source !== 'dns');
  }
  return false;
}

/** The words of each line that has any. */
function* lines(text: string, comment: RegExp): Iterable<string[]> {
  for (const line of text.split('\n')) {
    const words = (line.split(comment)[0] ?? '').split(/\s+/).filter((word) => word !== '');
    if (words.length > 0) yield words;
  }
}
