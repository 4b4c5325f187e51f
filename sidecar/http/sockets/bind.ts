/**
 * Takes the ports that an operator names: several, and for `localhost` both loopbacks, as each app resolves that name
 * its own way.
 *
 * All or none: a port that is half taken would be another program's for some apps.
 */
import type net from 'node:net';
import { type HostPort, LOOPBACKS } from '../../core/host-port.ts';

/** Connections that may wait to be accepted. */
const BACKLOG = 1_024;

/** For a port of the system's choice that another program has on the second loopback. */
const MAX_TRIES = 8;

/** This host has no such address: without IPv6, or without IPv4. */
const ABSENT: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT']);

/** `make`: a server for the so-manieth address. Rejects with the bind error (EADDRINUSE, EACCES, EADDRNOTAVAIL …). */
export async function bindAll(
  addresses: readonly HostPort[],
  make: (index: number) => net.Server,
): Promise<readonly net.Server[]> {
  for (let tries = 1; ; tries++) {
    const bound: net.Server[] = [];
    try {
      for (const address of addresses) await bindOne(address, bound, make);
      return bound;
    } catch (error) {
      await Promise.all(bound.map(closed));
      const isChosen = addresses.some(({ port }) => port === 0);
      if (codeOf(error) !== 'EADDRINUSE' || !isChosen || tries >= MAX_TRIES) throw error;
    }
  }
}

async function bindOne(
  { host, port }: HostPort,
  bound: net.Server[],
  make: (index: number) => net.Server,
): Promise<void> {
  if (host.toLowerCase() !== 'localhost') {
    bound.push(await listen(make(bound.length), { host, port }));
    return;
  }
  let chosen = port;
  let absence: unknown = null;
  for (const loopback of LOOPBACKS) {
    try {
      const server = await listen(make(bound.length), { host: loopback, port: chosen });
      bound.push(server);
      chosen = (server.address() as net.AddressInfo).port;
    } catch (error) {
      // One of the two is enough, where the host has but one.
      if (!ABSENT.has(codeOf(error)) || absence !== null) throw error;
      absence = error;
    }
  }
}

function listen(server: net.Server, { host, port }: HostPort): Promise<net.Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

function closed(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
