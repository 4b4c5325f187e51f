/**
 * Asks DNS for the addresses of one name, over sockets of its own.
 *
 * Not by getaddrinfo, as Node does for each connection: that blocks one of four threads for as long as the resolver is
 * silent, and then nothing in this process can be looked up any more, read from a disk or signed. c-ares, which Node has
 * as well, needs no thread, but knows neither /etc/hosts nor search domains, and reads its servers but once: all that is
 * done here. Only sources that libc alone can ask (mDNS) are left to it, after DNS has answered, and one at a time.
 */
import { Resolver } from 'node:dns';
import { lookup as askLibc } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { type SearchRules, searchedNames } from '../../core/name-files.ts';

/** Not empty. */
export type Addresses = readonly string[];

export interface DnsSetup {
  readonly search: SearchRules;
  /** See `hasOtherSources`. */
  readonly hasOtherSources: boolean;
  /** `address:port` of the servers; null = those of the system. */
  readonly servers: readonly string[] | null;
}

/**
 * `none`: somebody who knows said that there is no such name, or that it has no address. `silent`: no answer in time.
 * `failed`: an answer that is none, or nobody to ask.
 */
export type NameFaultKind = 'none' | 'silent' | 'failed';

export class NameFault extends Error {
  readonly kind: NameFaultKind;

  constructor(kind: NameFaultKind, message: string, cause?: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

/**
 * The first question; doubled with each of the others, so that a lost packet is made good while a request waits and a
 * slow server is still heard.
 */
const FIRST_TRY_MS = 700;
const TRIES = 3;

/** So long the addresses of one family wait for those of the other (RFC 8305 §3). */
const OTHER_FAMILY_MS = 50;

/** A look-up may take so long, for all who wait for it. */
export const LOOKUP_LIMIT_MS = 5_000;

const NONE: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA', 'EBADNAME']);
const SILENT: ReadonlySet<string> = new Set(['ETIMEOUT', 'ECANCELLED']);

export class DnsClient {
  readonly #setup: DnsSetup;
  readonly #resolver = new Resolver({ timeout: FIRST_TRY_MS, tries: TRIES });
  #libc: Promise<unknown> = Promise.resolve();

  constructor(setup: DnsSetup) {
    this.#setup = setup;
    if (setup.servers !== null) this.#resolver.setServers(setup.servers);
  }

  /** For people. */
  get servers(): string {
    return this.#resolver.getServers().join(', ') || 'no server configured';
  }

  /** Rejects with a NameFault. Not bounded as a whole: each name that is searched has its own tries. */
  async ask(name: string): Promise<Addresses> {
    const isIp6First = hasGlobalIp6();
    let failure: NameFault | null = null;
    for (const each of searchedNames(name, this.#setup.search)) {
      const said = await this.#askBoth(each, isIp6First);
      if (!(said instanceof NameFault)) return said;
      // The rest would only be waited for in vain; a server that cannot answer for one domain may for the next.
      if (said.kind === 'silent') throw said;
      if (said.kind === 'failed') failure ??= said;
    }
    const said = failure ?? this.#none(name);
    if (!this.#setup.hasOtherSources) throw said;
    return await this.#askLibc(name, said);
  }

  /** Both families at once; the first that has addresses waits a moment for the other. */
  async #askBoth(name: string, isIp6First: boolean): Promise<Addresses | NameFault> {
    const ip4 = this.#askOne(name, 4);
    const ip6 = this.#askOne(name, 6);
    const first = await Promise.race([ip4, ip6]);
    const late = 'addresses' in first ? afterMs(OTHER_FAMILY_MS) : null;
    const [four, six] = await Promise.all([orNone(ip4, late), orNone(ip6, late)]);
    late?.cancel();
    const addresses = isIp6First ? alternating(six, four) : alternating(four, six);
    if (addresses.length > 0) return addresses;
    const faults = [await ip4, await ip6].flatMap((answer) => ('fault' in answer ? [answer.fault] : []));
    const worst =
      faults.find(({ kind }) => kind === 'silent') ?? faults.find(({ kind }) => kind === 'failed');
    return worst ?? this.#none(name);
  }

  /** Never rejects. */
  #askOne(name: string, family: 4 | 6): Promise<Answer> {
    return new Promise((resolve) => {
      const answered = (error: NodeJS.ErrnoException | null, addresses: readonly string[]): void => {
        if (error !== null) resolve({ fault: this.#faultOf(name, error) });
        else if (addresses.length === 0) resolve({ fault: this.#none(name) });
        else resolve({ addresses });
      };
      if (family === 4) this.#resolver.resolve4(name, answered);
      else this.#resolver.resolve6(name, answered);
    });
  }

  /** One at a time: each holds a thread for as long as it takes. `said`: by DNS, and so it stays where libc knows no more. */
  #askLibc(name: string, said: NameFault): Promise<Addresses> {
    const untilMs = performance.now() + LOOKUP_LIMIT_MS;
    const asked = this.#libc.then(async () => {
      if (performance.now() > untilMs) throw said; // nobody waits for it any more, and others do behind it
      try {
        return (await askLibc(name, { all: true, verbatim: true })).map(({ address }) => address);
      } catch {
        throw said;
      }
    });
    this.#libc = asked.catch(() => {});
    return asked;
  }

  #none(name: string): NameFault {
    return new NameFault('none', `no such name: ${name} (asked: ${this.servers})`);
  }

  #faultOf(name: string, error: NodeJS.ErrnoException): NameFault {
    const code = error.code ?? '';
    if (NONE.has(code)) return this.#none(name);
    if (SILENT.has(code)) return new NameFault('silent', `no answer for ${name} from ${this.servers}`, error);
    return new NameFault('failed', `no address for ${name} from ${this.servers}: ${code}`, error);
  }
}

type Answer = { readonly addresses: Addresses } | { readonly fault: NameFault };

interface Pause {
  readonly over: Promise<void>;
  cancel(): void;
}

function afterMs(ms: number): Pause {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return { over, cancel: () => clearTimeout(timer) };
}

async function orNone(asked: Promise<Answer>, late: Pause | null): Promise<readonly string[]> {
  const answer = await (late === null ? asked : Promise.race([asked, late.over]));
  return answer !== undefined && 'addresses' in answer ? answer.addresses : [];
}

/** One of each by turns, so that a family that leads nowhere costs one attempt (RFC 8305 §4). */
function alternating(first: readonly string[], second: readonly string[]): string[] {
  const longest = Math.max(first.length, second.length);
  return Array.from({ length: longest }, (_, at) => [first[at], second[at]])
    .flat()
    .filter((address) => address !== undefined);
}

/** Whether this host has an IPv6 address by which it could reach others. */
function hasGlobalIp6(): boolean {
  try {
    return Object.values(networkInterfaces()).some((addresses) =>
      addresses?.some(
        ({ family, internal, address }) => family === 'IPv6' && !internal && !/^fe[89ab]/i.test(address),
      ),
    );
  } catch {
    return false; // some sandboxes forbid to look: only the order of the addresses hangs on it
  }
}
