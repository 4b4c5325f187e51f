/**
 * Opening a hyperdht node so that it is what its role says, at once: bound, and storing if it should.
 *
 * Apart from dht-node because the library has one form per role and only one of them stores without waiting for others:
 * `new HyperDHT({ ephemeral: false })` whose bootstraps are down at its start stays ephemeral for good (dht-rpc#34),
 * while `HyperDHT.bootstrapper` with an EMPTY list is persistent within milliseconds; the real list is added afterwards
 * (mesh/dht/bootstrap-nodes).
 */
import { createSocket } from 'node:dgram';
import HyperDHT, { type DhtOptions } from 'hyperdht';
import type { SealedUDX } from './sealed-udx.ts';

/** `bootstrap` and `persistent` store for others, at once and also alone; a `client` only asks. */
export type DhtRole = 'bootstrap' | 'persistent' | 'client';

export interface DhtBinding {
  readonly role: DhtRole;
  /** IPv4 address to bind to; for a storing node the one that others reach it by, never 0.0.0.0. */
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  /** Tried first when `port` is 0: the same address gives the same place in the DHT after a restart. */
  readonly preferredPort: number | null;
  /** How long this node keeps what others store with it. */
  readonly maxAgeMs: number;
}

/**
 * A node is taken for dead after at most this, per try. 300 ms is the least that a busy host keeps
 * (measured: at 200 ms a saturated machine's nodes are all called dead).
 */
const ANSWER_TIMEOUT = { min: 300, max: 1_500 };

/** Another program may take the free port between its finding and its binding. */
const PORT_TRIES = 8;

export async function openHyperDht(options: DhtBinding, udx: SealedUDX): Promise<HyperDHT> {
  const common: DhtOptions = {
    host: options.host,
    bootstrap: [],
    quickFirewall: false,
    maxAge: options.maxAgeMs,
    adaptiveTimeout: ANSWER_TIMEOUT,
    udx,
  };
  if (options.role === 'client') {
    const port = options.port === 0 ? [0, 0] : [options.port, options.port + 1];
    return bound(new HyperDHT({ ...common, port, ephemeral: true, anyPort: options.port === 0 }), options);
  }
  for (let tries = 1; ; tries += 1) {
    const wanted = tries === 1 ? (options.preferredPort ?? 0) : 0;
    const port = options.port !== 0 ? options.port : await freePort(options.host, wanted);
    try {
      // The library wants the port beforehand, since the node's id is the hash of address and port.
      return await bound(HyperDHT.bootstrapper(port, options.host, common), options);
    } catch (error) {
      if (options.port !== 0 || tries >= PORT_TRIES || codeOf(error) !== 'EADDRINUSE') throw error;
    }
  }
}

async function bound(dht: HyperDHT, options: DhtBinding): Promise<HyperDHT> {
  dht.on('error', () => {});
  try {
    // Without bootstrap nodes this waits for nobody.
    await dht.fullyBootstrapped();
    return dht;
  } catch (error) {
    await dht.destroy({ force: true }).catch(() => {});
    dht.io.networkInterfaces.destroy();
    throw explained(error, options);
  }
}

/** `wanted` when it can be bound, else any port that is free now. */
async function freePort(host: string, wanted: number): Promise<number> {
  if (wanted !== 0) {
    const port = await tryPort(host, wanted).catch(() => 0);
    if (port !== 0) return port;
  }
  return await tryPort(host, 0).catch((error) => {
    throw explained(error, { host, port: 0 });
  });
}

function tryPort(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (error) => socket.close(() => reject(error)));
    socket.bind({ address: host, port, exclusive: true }, () => {
      const found = socket.address().port;
      socket.close(() => resolve(found));
    });
  });
}

function explained(error: unknown, at: { readonly host: string; readonly port: number }): Error {
  const code = codeOf(error);
  const why =
    code === 'EADDRINUSE'
      ? 'another program has this port'
      : code === 'EADDRNOTAVAIL'
        ? 'this host has no such address'
        : error instanceof Error
          ? error.message
          : String(error);
  const result = new Error(`cannot open the DHT's UDP port ${at.host}:${at.port}: ${why}`, { cause: error });
  return Object.assign(result, { code });
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === 'string' ? code : '';
}
