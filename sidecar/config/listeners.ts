/**
 * The addresses that this sidecar listens on or is reached at: what must hold for each and between them.
 *
 * Apart from the rest of the rules, because each of these is about who can reach what: a listener beyond loopback is
 * said loudly, and the one for apps then wants a token. The VPN address is asked for again while the sidecar runs: a VPN
 * may come up after it, go, and come back with another.
 */

import type { HostPort } from '../core/host-port.ts';
import { addressesOf, formatHostPort, isLoopback } from '../core/host-port.ts';
import { isTunnelUrl, isUnicast, RECORD_LIMITS } from '../core/peers/record.ts';
import { bestVpnAddress, type HostAddress, type VpnSource } from '../core/peers/vpn-address.ts';
import type { Config } from './config.ts';
import { shown, subnetOf } from './parsers.ts';
import type { Problems } from './problems.ts';
import type { SCHEMA } from './schema.ts';
import type { ReadText } from './sources.ts';
import type { TreeResult } from './tree.ts';

const INBOUND_PORT = 8000;
const LEAST_TOKEN_LENGTH = 16;

/** What the rules work on: values with their places, and where they report to. */
export interface Context {
  readonly tree: TreeResult<typeof SCHEMA>;
  readonly problems: Problems;
  readonly warnings: string[];
}

export function outboundOf(context: Context): Config['outbound'] {
  const { tree, problems, warnings } = context;
  const { listen, token, hosts, origins } = tree.values.outbound;
  const tokens = tree.values.outbound.tokens ?? new Map<string, string>();
  checkTokens(context, token, tokens);
  const isOpen = token === null && tokens.size === 0;
  const isAsked = !isOpen || tree.failed.has('outbound.token') || tree.failed.has('outbound.tokens');
  for (const address of listen.filter(({ host }) => !isLoopback(host))) {
    const said = `${formatHostPort(address)} can be reached from other machines`;
    if (!isAsked)
      problems.add(tree.where('outbound.listen'), `${said}, so SIDECAR_OUTBOUND_TOKEN must be set`);
    warnings.push(`${tree.where('outbound.listen')}: ${said}`);
  }
  return { listen, token, tokens, hosts: new Set(hosts ?? []), origins };
}

function checkTokens(
  { tree, problems }: Context,
  token: string | null,
  tokens: ReadonlyMap<string, string>,
): void {
  const apps = new Map<string, string>();
  const check = (value: string, key: string, whose: string): void => {
    const lead = whose === '' ? '' : `the token of ${whose} `;
    const fault = tokenFault(value);
    if (fault !== null) problems.add(tree.where(key), `${lead}${fault}`);
    const other = apps.get(value);
    if (other !== undefined) problems.add(tree.where(key), `${lead}is that of ${other} too`);
    apps.set(value, whose);
  };
  for (const [app, value] of tokens) check(value, 'outbound.tokens', app);
  if (token !== null) check(token, 'outbound.token', '');
}

function tokenFault(value: string): string | null {
  if (!/^[\x21-\x7e]+$/.test(value)) return 'may hold visible ASCII characters only';
  return value.length < LEAST_TOKEN_LENGTH ? `is shorter than ${LEAST_TOKEN_LENGTH} characters` : null;
}

/** It shows whom one could attack, and takes the worker's word of its load. */
export function adminOf({ tree, problems, warnings }: Context): Config['admin'] {
  const { listen, hosts, token, openMetrics } = tree.values.admin;
  const fault = token === null ? null : tokenFault(token);
  if (fault !== null) problems.add(tree.where('admin.token'), fault);
  if (!isLoopback(listen.host)) {
    const said = `${formatHostPort(listen)} can be reached from other machines`;
    if (token === null && !tree.failed.has('admin.token'))
      problems.add(tree.where('admin.listen'), `${said}, so SIDECAR_ADMIN_TOKEN must be set`);
    warnings.push(`${tree.where('admin.listen')}: ${said}`);
  }
  return { listen, hosts: new Set(hosts ?? []), token, openMetrics };
}

export function inboundOf(given: HostPort | null, vpn: string | null): Config['inbound'] {
  const isAtVpn = given === null || given.host === '';
  const host = isAtVpn ? (vpn ?? '127.0.0.1') : given.host;
  return { listen: { host, port: given?.port ?? INBOUND_PORT }, isAtVpn };
}

export function tunnelOf({ tree, problems }: Context, readText: ReadText): Config['tunnel'] {
  const { url, cloudflaredMetrics, ca: caPath, allow, heartbeat, maxBody, firstByte } = tree.values.tunnel;
  const places = allow ?? [];
  let ca: string | null = null;
  if (caPath !== null) {
    ca = problems.attempt(`${tree.where('tunnel.ca')} ${shown(caPath)}`, () => readText(caPath)) ?? null;
    if (ca !== null && !ca.includes('-----BEGIN CERTIFICATE-----')) {
      problems.add(tree.where('tunnel.ca'), `${shown(caPath)} holds no PEM certificate`);
    }
  }
  const advertised = url === null ? null : `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
  // As it is advertised: what is not ASCII has become longer.
  if (advertised !== null && !isTunnelUrl(advertised)) {
    problems.add(
      tree.where('tunnel.url'),
      `the URL has ${advertised.length} characters as it is advertised, and peers take ${RECORD_LIMITS.tunnelUrlChars} at most`,
    );
  }
  return {
    url: advertised,
    cloudflaredMetrics: cloudflaredMetrics === null ? null : `http://${formatHostPort(cloudflaredMetrics)}`,
    ca,
    allow: {
      reaches: new Set(places.flatMap((each) => (typeof each === 'string' ? [each] : []))),
      networks: places.flatMap((each) => (typeof each === 'string' ? [] : [each])),
    },
    heartbeatMs: heartbeat,
    limits: { maxBodyBytes: maxBody, firstByteMs: firstByte },
  };
}

export function checkListeners(
  { tree, problems }: Context,
  config: Pick<Config, 'outbound' | 'inbound' | 'admin' | 'services'>,
): void {
  const taken = new Map<string, string>();
  for (const name of ['outbound', 'inbound', 'admin'] as const) {
    for (const address of [config[name].listen].flat().flatMap(addressesOf)) {
      if (address.port === 0) continue;
      const key = formatHostPort(address);
      const other = taken.get(key);
      if (other !== undefined) {
        const whose = other === name ? 'there twice' : `taken by ${other}.listen`;
        problems.add(tree.where(`${name}.listen`), `${key} is ${whose}`);
      }
      taken.set(key, name);
    }
  }
  for (const service of config.services) {
    const listener = service.urls
      .flatMap((url) => (url.socketPath === null ? addressesOf(url) : []))
      .map((address) => taken.get(formatHostPort(address)))
      .find((found) => found !== undefined);
    if (listener !== undefined) {
      problems.add(
        tree.where('services'),
        `${service.name} points at this sidecar itself (${listener}.listen)`,
      );
    }
  }
}

export function vpnSource({ tree, problems, warnings }: Context): VpnSource {
  const { ip, cidr, interface: device } = tree.values.vpn;
  if (ip === 'none' || tree.failed.has('vpn.ip')) return { kind: 'none' };
  if (ip === null) return { kind: 'found', cidr, device };
  if (device !== null) problems.add(tree.where('vpn.interface'), 'vpn.ip is set too; keep one of the two');
  if (!isUnicast(ip)) problems.add(tree.where('vpn.ip'), `${ip} is not the address of a host`);
  else if (subnetOf(cidr)?.(ip) === false) {
    warnings.push(
      `${tree.where('vpn.ip')}: ${ip} is outside of the VPN network ${cidr}: peers will not call it there`,
    );
  }
  return { kind: 'given', address: ip };
}

/** Those that the source means. */
export function vpnCandidates(source: VpnSource, addresses: readonly HostAddress[]): readonly HostAddress[] {
  if (source.kind === 'none') return [];
  if (source.kind === 'given') return addresses.filter(({ address }) => address === source.address);
  const contains = subnetOf(source.cidr);
  return addresses.filter(
    ({ address, device }) =>
      contains?.(address) === true && (source.device === null || device === source.device),
  );
}

/**
 * Whether it may come and go while the sidecar runs. A given one that the host does not show, since it belongs to the
 * machine around the container, is the operator's word: so when another address is bound, or the system tells of none.
 */
export function isWatched(
  source: VpnSource,
  isInboundAtVpn: boolean,
  addresses: readonly HostAddress[],
): boolean {
  if (source.kind !== 'given') return source.kind === 'found';
  // Any of 127.0.0.0/8 can be bound, and no device shows it.
  return isInboundAtVpn && addresses.length > 0 && !isLoopback(source.address);
}

/** As of now; null = there is none (yet). */
export function presentVpnIp(
  source: VpnSource,
  isWatchedOne: boolean,
  addresses: readonly HostAddress[],
): string | null {
  if (source.kind === 'given' && !isWatchedOne) return source.address;
  return bestVpnAddress(vpnCandidates(source, addresses), null)?.address ?? null;
}
