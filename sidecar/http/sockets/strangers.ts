/**
 * The connections of strangers: those that no member has proved itself on yet, and how many of them are borne.
 *
 * Beyond the limit the oldest is cut, of the address that has the most, rather than the newest refused: a member proves
 * itself with its first request, so only a flood as fast as that could push one out, and descriptors are left for apps,
 * for the operator and for those who have proved themselves.
 */
import { readFileSync } from 'node:fs';
import { isIPv6, type Socket } from 'node:net';

export interface StrangerLimits {
  /** Connections in all, and from one address. */
  readonly total: number;
  readonly perAddress: number;
}

export interface StrangersOptions {
  readonly limits: StrangerLimits;
  /** A connection was cut to make room. */
  onCut(address: string): void;
}

/** Of the descriptors of this process strangers may hold this part, within the bounds below. */
const SHARE_OF_FILES = 1 / 8;
const LEAST_TOTAL = 16;
const MOST_TOTAL = 512;

/** Of the total, one address; behind that of a tunnel's connector or a NAT are many. */
const SHARE_OF_ADDRESS = 1 / 4;
const LEAST_PER_ADDRESS = 16;

/** Where the system does not say how many files may be open: POSIX's usual soft limit. */
const ASSUMED_FILES = 1_024;

export class Strangers {
  readonly #options: StrangersOptions;
  /** By address, the oldest first. */
  readonly #byAddress = new Map<string, Set<Socket>>();
  readonly #addressOf = new Map<Socket, string>();
  readonly #members = new Map<Socket, { readonly key: string; readonly untilMs: number }>();

  constructor(options: StrangersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#addressOf.size;
  }

  /** A connection was accepted. May cut another. */
  add(socket: Socket): void {
    const address = addressKey(socket.remoteAddress ?? '');
    const group = this.#byAddress.get(address) ?? new Set();
    this.#byAddress.set(address, group);
    group.add(socket);
    this.#addressOf.set(socket, address);
    const { total, perAddress } = this.#options.limits;
    if (group.size > perAddress) this.#cutOldest(address, group);
    else if (this.#addressOf.size > total) this.#cutOldest(...this.#largest());
  }

  /** Its sender is the member with this key until then, Unix ms. */
  proved(socket: Socket, untilMs: number, key: string): void {
    this.#leave(socket);
    this.#members.set(socket, { key, untilMs });
  }

  /** Cuts the connections of these members, with all that runs on them. */
  cutMembers(keys: ReadonlySet<string>): void {
    for (const [socket, { key }] of this.#members) if (keys.has(key)) socket.destroy();
  }

  /** Cuts the connections of those who are members no longer, with all that runs on them. */
  sweep(nowMs: number): void {
    for (const [socket, { untilMs }] of this.#members) if (nowMs > untilMs) socket.destroy();
  }

  /** It is closed. */
  remove(socket: Socket): void {
    this.#leave(socket);
    this.#members.delete(socket);
  }

  #leave(socket: Socket): void {
    const address = this.#addressOf.get(socket);
    if (address === undefined) return;
    this.#addressOf.delete(socket);
    const group = this.#byAddress.get(address);
    group?.delete(socket);
    if (group?.size === 0) this.#byAddress.delete(address);
  }

  #largest(): [string, Set<Socket>] {
    let largest: [string, Set<Socket>] = ['', new Set()];
    for (const entry of this.#byAddress) if (entry[1].size > largest[1].size) largest = entry;
    return largest;
  }

  #cutOldest(address: string, group: Set<Socket>): void {
    const [oldest] = group;
    if (oldest === undefined) return;
    this.remove(oldest);
    oldest.destroy();
    this.#options.onCut(address);
  }
}

/** By the number of files that this process may have open. */
export function strangerLimits(openFiles: number = mayOpenFiles()): StrangerLimits {
  const total = Math.min(MOST_TOTAL, Math.max(LEAST_TOTAL, Math.floor(openFiles * SHARE_OF_FILES)));
  return { total, perAddress: Math.max(LEAST_PER_ADDRESS, Math.floor(total * SHARE_OF_ADDRESS)) };
}

/** Node raises its soft limit to the hard one when it starts. */
function mayOpenFiles(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? ASSUMED_FILES : Number(soft);
  } catch {
    return ASSUMED_FILES;
  }
}

/** One network of IPv6 (/64) is one host: it may take any address in it. */
function addressKey(address: string): string {
  if (!isIPv6(address)) return address;
  if (address.startsWith('::ffff:')) return address.slice('::ffff:'.length);
  const [head = '', tail] = address.split('::', 2);
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  return [...left, ...Array<string>(zeros).fill('0'), ...right].slice(0, 4).join(':');
}
