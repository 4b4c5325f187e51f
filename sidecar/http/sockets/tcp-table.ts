/**
 * What Linux tells of TCP connections in /proc/net/tcp and tcp6: whether one of the two ends has closed.
 *
 * One pass over the text picks the few that are closing out of thousands that are not. A connection that is not listed
 * counts as open, since rows may be missed while connections come and go.
 */
import { readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { endianness } from 'node:os';

/** The addresses of a connection, as a socket has them. */
export interface Ends {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/**
 * The two addresses of a row that is neither an open connection (01) nor a listener (0A); nor TIME_WAIT (06), of which
 * busy hosts have tens of thousands: both ends of such a one have closed, or its addresses are in use again.
 */
const CLOSED_ROW = /: ([0-9A-F]+:[0-9A-F]{4} [0-9A-F]+:[0-9A-F]{4}) (?!01|06|0A)/g;

/** What an IPv4 address begins with in tcp6. */
const MAPPED_HEX = hexOfBytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

export class TcpTable {
  readonly #closed = new Set<string>();

  /** The texts of the two files; '' for one that is not there. */
  constructor(v4: string, v6: string) {
    for (const text of [v4, v6]) {
      for (const [, ends = ''] of text.matchAll(CLOSED_ROW))
        this.#closed.add(ends.replaceAll(MAPPED_HEX, ''));
    }
  }

  /** Never rejects; empty where there is no such table. */
  static async read(): Promise<TcpTable> {
    const read = (path: string): Promise<string> => readFile(path, 'latin1').catch(() => '');
    const [v4, v6] = await Promise.all([read('/proc/net/tcp'), read('/proc/net/tcp6')]);
    return new TcpTable(v4, v6);
  }

  /** The other end has closed: its FIN has arrived here, or the other end is on this host and its own row says so. */
  isOver({ localAddress, localPort, remoteAddress, remotePort }: Ends): boolean {
    const near = endHex(localAddress, localPort);
    const far = endHex(remoteAddress, remotePort);
    return this.#closed.has(`${near} ${far}`) || this.#closed.has(`${far} ${near}`);
  }
}

/** `0100007F:1F90` for 127.0.0.1:8080, as a machine with the low byte first shows it. */
function endHex(address = '', port = 0): string {
  return `${hexOfBytes(bytesOf(address))}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

/** Words of four bytes, in the order of this machine. */
function hexOfBytes(bytes: readonly number[]): string {
  let hex = '';
  for (let at = 0; at < bytes.length; at += 4) {
    const word = bytes.slice(at, at + 4);
    if (endianness() === 'LE') word.reverse();
    for (const byte of word) hex += byte.toString(16).toUpperCase().padStart(2, '0');
  }
  return hex;
}

/** 4 bytes for IPv4, also when it is mapped into IPv6; else 16. */
function bytesOf(address: string): number[] {
  const [bare = ''] = address.split('%');
  const v4 = bare.replace(/^::ffff:/i, '');
  if (isIPv4(v4)) return v4.split('.').map(Number);
  const [head = '', tail = ''] = bare.split('::');
  const [before, after] = [groups(head), groups(tail)];
  return [...before, ...new Array(Math.max(0, 16 - before.length - after.length)).fill(0), ...after];
}

function groups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
