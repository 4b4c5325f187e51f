/**
 * How far an IP address reaches: everywhere, or only this host, this link or a private network.
 *
 * Who can name an address that others connect to (a record, an answer of DNS) must not lead them to what only they can
 * reach. The ranges are those of the IANA special-purpose registries (RFC 6890), IPv4 addresses inside IPv6 ones included
 * (compatible and mapped RFC 4291 §2.5.5, NAT64 RFC 6052 §2.1, 6to4 RFC 3056 §2).
 */
import { BlockList, isIP } from 'node:net';

export type Reach = 'public' | 'loopback' | 'link-local' | 'private';

const IP4: Readonly<Record<Exclude<Reach, 'public'>, readonly string[]>> = {
  // 0.0.0.0 is this host to connect().
  loopback: ['127.0.0.0/8', '0.0.0.0/8'],
  'link-local': ['169.254.0.0/16'],
  // Shared (100.64), for protocols (192.0.0), for benchmarks (198.18), multicast and reserved: nobody's public server.
  private: [
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '100.64.0.0/10',
    '192.0.0.0/24',
    '198.18.0.0/15',
    '224.0.0.0/3',
  ],
};

const IP6: typeof IP4 = {
  loopback: ['::1/128', '::/128'],
  'link-local': ['fe80::/10'],
  // Unique local, site-local, multicast, NAT64 of a network's own.
  private: ['fc00::/7', 'fec0::/10', 'ff00::/8', '64:ff9b:1::/48'],
};

const NARROW = (['loopback', 'link-local', 'private'] as const).map((reach) => ({
  reach,
  blocks: blockList([...IP4[reach], ...IP4[reach].flatMap(embedded), ...IP6[reach]]),
}));

/** `null` for what is no address. */
export function reachOf(address: string): Reach | null {
  const plain = withoutZone(address);
  const family = familyOf(plain);
  if (family === null) return null;
  return NARROW.find(({ blocks }) => blocks.check(plain, family))?.reach ?? 'public';
}

/** Of one network; mapped IPv4 addresses are in that of the IPv4 ones. Null when the text is none. */
export function networkOf(text: string): ((address: string) => boolean) | null {
  const match = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text);
  const family = familyOf(match?.[1] ?? '');
  if (match === null || family === null) return null;
  const longest = family === 'ipv4' ? 32 : 128;
  const prefix = match[2] === undefined ? longest : Number(match[2]);
  if (prefix > longest) return null;
  const blocks = blockList([`${match[1]}/${prefix}`]);
  return (address) => {
    const plain = withoutZone(address);
    const of = familyOf(plain);
    return of !== null && blocks.check(plain, of);
  };
}

function blockList(networks: readonly string[]): BlockList {
  const blocks = new BlockList();
  for (const network of networks) {
    const [base = '', prefix] = network.split('/');
    blocks.addSubnet(base, Number(prefix), familyOf(base) ?? 'ipv4');
  }
  return blocks;
}

/** The IPv6 networks that lead to an IPv4 one; those of mapped addresses a BlockList knows by itself. */
function embedded(network: string): string[] {
  const [base = '', prefix] = network.split('/');
  const bits = Number(prefix);
  const [a = 0, b = 0, c = 0, d = 0] = base.split('.').map(Number);
  const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  return [`::${hex}/${96 + bits}`, `64:ff9b::${hex}/${96 + bits}`, `2002:${hex}::/${16 + bits}`];
}

function withoutZone(address: string): string {
  const zone = address.indexOf('%');
  return zone === -1 ? address : address.slice(0, zone);
}

function familyOf(address: string): 'ipv4' | 'ipv6' | null {
  const version = isIP(address);
  if (version === 0) return null;
  return version === 4 ? 'ipv4' : 'ipv6';
}
