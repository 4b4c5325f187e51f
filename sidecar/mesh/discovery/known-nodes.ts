/**
 * What survives a restart, in `state.dir`: nodes of the DHT, and the peers of the last view.
 *
 * Addresses only, not records: they say whom to ask first, and whatever answers is checked like anyone else, so that an
 * old or forged file can cost a few vain requests and nothing more. A file that cannot be read or written is one line
 * in the log and never an error.
 */
import { constants } from 'node:fs';
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../core/errors.ts';
import type { HostPort } from '../../core/host-port.ts';
import { isHostName, isIp4, isIp6 } from '../../core/host-port.ts';
import { isObject } from '../../core/json.ts';
import type { Log } from '../../core/log.ts';
import { RECORD_LIMITS } from '../../core/peers/record.ts';
import { isServiceName } from '../../core/service-name.ts';
import type { Clock } from '../clock.ts';

export interface KnownPeer {
  /** Public key, 64 hex digits. */
  readonly key: string;
  readonly services: readonly string[];
  /** Inbound listener at its VPN address. */
  readonly address: HostPort | null;
  readonly tunnelUrl: string | null;
}

export interface Known {
  /** UDP port that this node had; null = not known. */
  readonly ownPort: number | null;
  readonly nodes: readonly HostPort[];
  readonly peers: readonly KnownPeer[];
}

export const NOTHING_KNOWN: Known = { ownPort: null, nodes: [], peers: [] };

const FILE = 'known-nodes.json';
const VERSION = 1;
const MAX_NODES = 64;
const MAX_PEERS = 1_024;

/** Nothing that was written here comes near. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Soon after the start, so that one that is killed before its first interval is over has something too. */
const FIRST_SAVE_MS = 5_000;

/** Checks what was read: drops each entry that is not well-formed. null when the text is not such a file. */
export function parseKnown(text: string): Known | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(json) || json.version !== VERSION) return null;
  return {
    ownPort: isPort(json.own_port) ? json.own_port : null,
    nodes: list(json.nodes, nodeOf, MAX_NODES),
    peers: list(json.peers, peerOf, MAX_PEERS),
  };
}

export function formatKnown(known: Known): string {
  const peers = known.peers.slice(0, MAX_PEERS).map(({ key, services, address, tunnelUrl }) => ({
    key,
    services,
    address,
    tunnel_url: tunnelUrl,
  }));
  const nodes = known.nodes.slice(0, MAX_NODES).map(({ host, port }) => ({ host, port }));
  return `${JSON.stringify({ version: VERSION, own_port: known.ownPort, nodes, peers })}\n`;
}

export interface KnownNodesOptions {
  /** null = nothing is kept. */
  readonly stateDir: string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly intervalMs: number;
}

export class KnownNodes {
  readonly #options: KnownNodesOptions;
  readonly #path: string | null;
  #cancel = (): void => {};
  #saving: Promise<void> = Promise.resolve();
  #current: (() => Known) | null = null;
  #written = '';
  #isUnwritable = false;

  constructor(options: KnownNodesOptions) {
    this.#options = options;
    this.#path = options.stateDir === null ? null : join(options.stateDir, FILE);
  }

  /** Never rejects: what cannot be read is nothing. */
  async load(): Promise<Known> {
    if (this.#path === null) return NOTHING_KNOWN;
    let text: string;
    try {
      text = await readBounded(this.#path);
    } catch (cause) {
      if (!isMissing(cause)) this.#complain('read', cause);
      return NOTHING_KNOWN;
    }
    const known = parseKnown(text);
    if (known === null) this.#complain('read', 'it is damaged, and will be written anew');
    return known ?? NOTHING_KNOWN;
  }

  /** Saves what `current` gives, at each interval and at `stop`. */
  start(current: () => Known): void {
    this.#current = current;
    if (this.#path === null) return;
    const next = (delayMs: number): void => {
      this.#cancel = this.#options.clock.after(delayMs, () => {
        void this.#save().finally(() => {
          if (this.#current !== null) next(this.#options.intervalMs);
        });
      });
    };
    next(Math.min(FIRST_SAVE_MS, this.#options.intervalMs));
  }

  /** Saves for the last time. Never rejects. */
  async stop(): Promise<void> {
    this.#cancel();
    await this.#save();
    this.#current = null;
  }

  #save(): Promise<void> {
    this.#saving = this.#saving.then(() => this.#write());
    return this.#saving;
  }

  async #write(): Promise<void> {
    const known = this.#current?.();
    if (known === undefined || this.#path === null || this.#options.stateDir === null) return;
    // A moment of knowing nobody must not wipe out what may be needed after the next restart.
    if (known.nodes.length === 0 && known.peers.length === 0) return;
    const text = formatKnown(known);
    if (text === this.#written) return;
    // Beside the file, so that the rename is atomic; by pid, in case two sidecars share a directory.
    const draft = `${this.#path}.${process.pid}`;
    try {
      await mkdir(this.#options.stateDir, { recursive: true, mode: 0o700 });
      await writeFile(draft, text, { mode: 0o600, flush: true });
      await rename(draft, this.#path);
      this.#written = text;
      if (this.#isUnwritable)
        this.#options.log.info({ file: this.#path }, 'the known nodes can be written again');
      this.#isUnwritable = false;
    } catch (cause) {
      await rm(draft, { force: true }).catch(() => {});
      // Once until it works again: a full disk stays full for hours.
      if (!this.#isUnwritable) this.#complain('written', cause);
      this.#isUnwritable = true;
    }
  }

  #complain(what: 'read' | 'written', cause: unknown): void {
    const reason = messageOf(cause);
    this.#options.log.warn(
      { file: this.#path, reason },
      `the known nodes cannot be ${what}; going on without`,
    );
  }
}

/** Never more than a file of ours can have, whatever stands there: a device has no end, a pipe no beginning. */
async function readBounded(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('it is no file');
    const { size } = stat;
    if (size > MAX_BYTES) throw new Error(`it has ${size} bytes, and no such file has so many`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

function list<T>(value: unknown, one: (entry: unknown) => T | null, max: number): T[] {
  if (!Array.isArray(value)) return [];
  const good: T[] = [];
  for (const entry of value.slice(0, max)) {
    const checked = one(entry);
    if (checked !== null) good.push(checked);
  }
  return good;
}

function nodeOf(value: unknown): HostPort | null {
  if (!isObject(value) || typeof value.host !== 'string') return null;
  return isIp4(value.host) && isPort(value.port) ? { host: value.host, port: value.port } : null;
}

function peerOf(value: unknown): KnownPeer | null {
  if (!isObject(value) || typeof value.key !== 'string' || !/^[0-9a-f]{64}$/.test(value.key)) return null;
  const services = list(value.services, serviceOf, RECORD_LIMITS.services);
  const address = value.address === null ? null : addressOf(value.address);
  const tunnelUrl = typeof value.tunnel_url === 'string' ? urlOf(value.tunnel_url) : null;
  const isWhole =
    (value.address === null) === (address === null) && (value.tunnel_url === null) === (tunnelUrl === null);
  return isWhole && services.length > 0 ? { key: value.key, services, address, tunnelUrl } : null;
}

function addressOf(value: unknown): HostPort | null {
  if (!isObject(value) || typeof value.host !== 'string' || !isPort(value.port)) return null;
  const known = isIp4(value.host) || isIp6(value.host) || isHostName(value.host);
  return known ? { host: value.host, port: value.port } : null;
}

function serviceOf(value: unknown): string | null {
  return typeof value === 'string' && isServiceName(value) ? value : null;
}

function urlOf(text: string): string | null {
  if (text.length > RECORD_LIMITS.tunnelUrlChars) return null;
  const url = URL.parse(text);
  return url !== null && (url.protocol === 'https:' || url.protocol === 'http:') ? text : null;
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 65_535;
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && (cause as Error & { code?: unknown }).code === 'ENOENT';
}
