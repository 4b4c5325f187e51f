/**
 * The addresses of a name: at once for an address, `localhost`, what /etc/hosts says and what was just looked up; else
 * by one look-up that all who want the name share.
 *
 * A name that DNS does not answer for holds up nobody else, and keeps its last good addresses: a new look-up gets a
 * moment to answer, then the known ones are used while it goes on (RFC 8767). They are not kept for their TTL, for a
 * container that is started again has another address at once, and Docker says 600 s. Only an answer that there is no
 * such name takes them away.
 */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { BoundedCache } from '../../core/bounded-cache.ts';
import { isLoopback, LOOPBACKS } from '../../core/host-port.ts';
import { hasOtherSources, nameKey, parseHosts, parseSearchRules } from '../../core/name-files.ts';
import { type Addresses, DnsClient, LOOKUP_LIMIT_MS, NameFault } from './dns-client.ts';

export interface HostNamesOptions {
  readonly hostsFile: string;
  readonly resolvConf: string;
  readonly nsswitchConf: string;
  /** `address:port`; null = those of the system. */
  readonly servers: readonly string[] | null;
}

export interface Resolved {
  readonly addresses: Addresses;
  /** How old they are, when DNS does not answer for the name any more; 0 = as DNS or this host says now. */
  readonly staleMs: number;
}

interface Name {
  addresses: Addresses | null;
  /** Monotonic ms of the answer. */
  atMs: number;
  fault: NameFault | null;
  faultAtMs: number;
  lookup: Promise<Addresses> | null;
  lookupSinceMs: number;
}

/** An answer is used for so long without asking again; and so long after a failure nobody asks. */
const FRESH_MS = 1_000;

/** A look-up may take so long to answer before the addresses of the last one are used. */
const GRACE_MS = 250;

/** RFC 8767 §5: one to three days. */
const STALE_LIMIT_MS = 86_400_000;

/** More at a time is a mistake or an attack: names come from the configuration and from records of members. */
const MAX_LOOKUPS = 256;
const MAX_NAMES = 4_096;

/** The files are looked at so often at most. */
const FILES_CHECK_MS = 1_000;

const NEVER = Number.NEGATIVE_INFINITY;

export class HostNames {
  readonly #options: HostNamesOptions;
  readonly #names = new BoundedCache<string, Name>(MAX_NAMES, () => {});
  #lookups = 0;
  #filesCheckedMs = NEVER;
  #filesMark = '';
  #hosts: ReadonlyMap<string, Addresses> = new Map();
  #dns: DnsClient | null = null;

  constructor(options: HostNamesOptions) {
    this.#options = options;
  }

  /** A promise only where DNS has to be waited for; it rejects with a NameFault. */
  resolve(host: string): Resolved | Promise<Resolved> {
    if (isIP(host) !== 0) return { addresses: [host], staleMs: 0 };
    const key = nameKey(host);
    if (isLoopback(key)) return { addresses: LOOPBACKS, staleMs: 0 };
    const nowMs = performance.now();
    const dns = this.#current(nowMs);
    const said = this.#hosts.get(key);
    if (said !== undefined) return { addresses: said, staleMs: 0 };
    const name = this.#nameOf(key);
    if (name.addresses !== null && nowMs - name.atMs < FRESH_MS)
      return { addresses: name.addresses, staleMs: 0 };
    const known = this.#known(name, nowMs);
    if (name.lookup === null) {
      if (name.fault !== null && nowMs - name.faultAtMs < FRESH_MS)
        return known ?? Promise.reject(name.fault);
      this.#lookUp(dns, host, name, nowMs);
    }
    const lookup = name.lookup as unknown as Promise<Addresses>;
    const fresh = lookup.then((addresses) => ({ addresses, staleMs: 0 }));
    if (known === null) return fresh;
    // It was silent the last time: who has an address does not wait to see that again.
    const graceMs = name.fault === null ? GRACE_MS - (nowMs - name.lookupSinceMs) : 0;
    if (graceMs > 0) return orKnown(fresh, known, graceMs);
    fresh.catch(() => {});
    return known;
  }

  /** All addresses of the name have failed: it may have moved, so the next who wants it has it looked up. */
  doubt(host: string): void {
    const name = this.#names.get(nameKey(host));
    if (name !== undefined) name.atMs = Math.min(name.atMs, performance.now() - FRESH_MS);
  }

  #nameOf(key: string): Name {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = {
        addresses: null,
        atMs: NEVER,
        fault: null,
        faultAtMs: NEVER,
        lookup: null,
        lookupSinceMs: NEVER,
      };
      this.#names.set(key, name);
    }
    return name;
  }

  #known({ addresses, atMs }: Name, nowMs: number): Resolved | null {
    const staleMs = nowMs - atMs;
    return addresses === null || staleMs > STALE_LIMIT_MS ? null : { addresses, staleMs };
  }

  #lookUp(dns: DnsClient, host: string, name: Name, nowMs: number): void {
    if (this.#lookups >= MAX_LOOKUPS) {
      const full = new NameFault('failed', `${MAX_LOOKUPS} other names are being looked up, and DNS is slow`);
      name.lookup = Promise.reject(full);
      name.lookup.catch(() => {
        name.lookup = null;
      });
      return;
    }
    this.#lookups += 1;
    name.lookupSinceMs = nowMs;
    name.lookup = withinLimit(dns, host).finally(() => {
      this.#lookups -= 1;
      name.lookup = null;
    });
    name.lookup.then(
      (addresses) => {
        name.addresses = addresses;
        name.atMs = performance.now();
        name.fault = null;
      },
      (fault: NameFault) => {
        name.fault = fault;
        name.faultAtMs = performance.now();
        if (fault.kind === 'none') name.addresses = null;
      },
    );
  }

  /** Reads the files again when they have changed: a host that moves to another network has other servers there. */
  #current(nowMs: number): DnsClient {
    if (this.#dns !== null && nowMs - this.#filesCheckedMs < FILES_CHECK_MS) return this.#dns;
    this.#filesCheckedMs = nowMs;
    const { hostsFile, resolvConf, nsswitchConf, servers } = this.#options;
    const mark = [hostsFile, resolvConf, nsswitchConf].map(markOf).join(' ');
    if (this.#dns !== null && mark === this.#filesMark) return this.#dns;
    this.#filesMark = mark;
    this.#hosts = parseHosts(textOf(hostsFile) ?? '');
    this.#dns = new DnsClient({
      search: parseSearchRules(textOf(resolvConf) ?? ''),
      hasOtherSources: process.platform !== 'linux' || hasOtherSources(textOf(nsswitchConf)),
      servers,
    });
    return this.#dns;
  }
}

/** For the whole process, as the files are for the whole host. */
export const hostNames = new HostNames({
  hostsFile: '/etc/hosts',
  resolvConf: '/etc/resolv.conf',
  nsswitchConf: '/etc/nsswitch.conf',
  servers: null,
});

function withinLimit(dns: DnsClient, host: string): Promise<Addresses> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new NameFault('silent', `no answer for ${host} within ${LOOKUP_LIMIT_MS} ms from ${dns.servers}`),
      );
    }, LOOKUP_LIMIT_MS);
    void dns
      .ask(host)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

/** The new ones, unless they take too long or do not come. */
function orKnown(fresh: Promise<Resolved>, known: Resolved, graceMs: number): Promise<Resolved> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(known), graceMs);
    fresh
      .then(resolve, (fault: NameFault) => (fault.kind === 'none' ? reject(fault) : resolve(known)))
      .finally(() => clearTimeout(timer));
  });
}

/** Changes when the file does. One that cannot be looked at says nothing, as libc has it. */
function markOf(path: string): string {
  try {
    const { ino, size, mtimeNs } = statSync(path, { bigint: true });
    return `${ino}:${size}:${mtimeNs}`;
  } catch {
    return '-';
  }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
