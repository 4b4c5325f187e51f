/**
 * The record: what one worker says of itself, as JSON, checked field by field.
 *
 * Own validation instead of a schema library, because a record comes from strangers' hands (a DHT node, a tunnel) and
 * each limit below is a decision.
 */
import { isIp4, isIp6 } from '../host-port.ts';
import { parseCarriers } from '../http/session-carrier.ts';
import { isObject } from '../json.ts';
import { isServiceName } from '../service-name.ts';

export const WORKER_STATES = ['warming', 'ready', 'draining'] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

/** Live figures of one service of one worker. */
export interface ServiceFigures {
  /** Requests that the worker is serving now. */
  readonly in_flight: number;
  /** Slots; 0 = not limited. */
  readonly concurrency: number;
  /** Requests that wait at the worker's sidecar. */
  readonly queued: number;
  /** Moving average of the service time in ms; null until one request was served. */
  readonly service_ms: number | null;
  /** What carries its sessions (core/http/session-carrier); absent = the default. */
  readonly session?: string;
}

export interface WorkerRecord {
  readonly worker_id: string;
  readonly vpn_ip: string | null;
  readonly tunnel_url: string | null;
  readonly services: readonly string[];
  readonly capabilities: Readonly<Record<string, string | number | boolean>>;
  /** 0.0 idle … 1.0 full. */
  readonly load: number;
  /** Unix seconds. */
  readonly last_seen: number;
  /** Ed25519 key of the worker, 64 hex digits; also its identity in every table. */
  readonly public_key: string;
  /** Unix ms at which the sidecar started: orders the lives of one worker. */
  readonly epoch: number;
  /** Counts the records of one life. */
  readonly seq: number;
  /** Counts the changes of what records say besides state and figures, in one life; null = not told (an older sidecar). */
  readonly revision: number | null;
  readonly state: WorkerState;
  /** Port of the inbound listener at `vpn_ip`; null without VPN. */
  readonly inbound_port: number | null;
  /** Of `services` those that take no requests for now; absent = none. */
  readonly paused?: readonly string[];
  readonly figures: Readonly<Record<string, ServiceFigures>>;
}

/** Limits of a record that is believed. Generous for honest workers, small enough to hold thousands. */
export const RECORD_LIMITS = {
  workerIdChars: 128,
  services: 64,
  capabilities: 32,
  capabilityKeyChars: 64,
  capabilityValueChars: 256,
  tunnelUrlChars: 512,
  /** Of `in_flight`, `queued`, `concurrency`. */
  requests: 1_000_000,
  serviceMs: 1e9,
  sessionChars: 256,
  /** Unix ms; the largest time that a Date can hold (ECMA-262 §21.4.1.1). */
  epochMs: 8.64e15,
  /** Unix seconds. */
  lastSeenS: 8.64e12,
} as const;

export type DecodedRecord =
  | { readonly kind: 'ok'; readonly record: WorkerRecord }
  /** `reason` names the field and the rule, and never repeats what was in it. */
  | { readonly kind: 'bad'; readonly reason: string };

/** Visible ASCII: a worker_id goes into a response header and into logs as it is. */
const WORKER_ID = /^[!-~]+$/;
const CAPABILITY_KEY = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const PUBLIC_KEY = /^[0-9a-f]{64}$/;

/** C0, DEL, C1 and the bidirectional controls: what could rewrite a terminal or a page. */
export const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/**
 * Checks parsed JSON. Never throws, whatever it is given; the response shares nothing with the input.
 * Unknown keys are ignored and dropped, so that a newer sidecar may say more.
 */
export function decodeRecord(json: unknown): DecodedRecord {
  const reason = faultOf(json);
  if (reason !== null) return { kind: 'bad', reason };
  // Every field was checked above.
  const raw = json as WorkerRecord;
  const capabilities: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(raw.capabilities ?? {})) capabilities[key] = value;
  const figures: Record<string, ServiceFigures> = {};
  for (const [service, f] of Object.entries(raw.figures ?? {})) {
    figures[service] = {
      in_flight: f.in_flight,
      concurrency: f.concurrency,
      queued: f.queued,
      service_ms: f.service_ms,
      ...(f.session === undefined ? {} : { session: f.session }),
    };
  }
  const paused = raw.paused ?? [];
  const record: WorkerRecord = {
    worker_id: raw.worker_id,
    vpn_ip: raw.vpn_ip ?? null,
    tunnel_url: raw.tunnel_url ?? null,
    services: [...raw.services],
    capabilities,
    load: raw.load,
    last_seen: raw.last_seen,
    public_key: raw.public_key,
    epoch: raw.epoch,
    seq: raw.seq,
    revision: raw.revision ?? null,
    state: raw.state,
    inbound_port: raw.inbound_port ?? null,
    ...(paused.length === 0 ? {} : { paused: [...paused] }),
    figures,
  };
  return { kind: 'ok', record };
}

/** The record as JSON text, keys always in the same order: the same record is always the same bytes. */
export function encodeRecord(record: WorkerRecord): string {
  return JSON.stringify({
    worker_id: record.worker_id,
    vpn_ip: record.vpn_ip,
    tunnel_url: record.tunnel_url,
    services: record.services,
    capabilities: record.capabilities,
    load: record.load,
    last_seen: record.last_seen,
    public_key: record.public_key,
    epoch: record.epoch,
    seq: record.seq,
    ...(record.revision === null ? {} : { revision: record.revision }),
    state: record.state,
    inbound_port: record.inbound_port,
    ...(record.paused === undefined || record.paused.length === 0 ? {} : { paused: record.paused }),
    figures: record.figures,
  });
}

function faultOf(json: unknown): string | null {
  if (!isObject(json)) return 'record: not an object';
  const L = RECORD_LIMITS;
  const { worker_id: id, services, public_key: key } = json;
  if (typeof id !== 'string' || id.length > L.workerIdChars || !WORKER_ID.test(id)) {
    return `worker_id: not 1 to ${L.workerIdChars} visible ASCII characters`;
  }
  if (typeof key !== 'string' || !PUBLIC_KEY.test(key)) return 'public_key: not 64 lower-case hex digits';
  if (!isNumber(json.epoch, L.epochMs, true)) return 'epoch: not a time in Unix ms';
  if (!isNumber(json.seq, Number.MAX_SAFE_INTEGER, true)) return 'seq: not a count';
  const revision = json.revision ?? null;
  if (revision !== null && !isNumber(revision, Number.MAX_SAFE_INTEGER, true)) return 'revision: not a count';
  if (!isNumber(json.load, 1, false)) return 'load: not a number from 0 to 1';
  if (!isNumber(json.last_seen, L.lastSeenS, false)) return 'last_seen: not a time in Unix seconds';
  if (!WORKER_STATES.some((state) => state === json.state)) return 'state: not warming, ready or draining';
  return (
    servicesFault(services) ??
    pausedFault(json.paused ?? [], services as readonly string[]) ??
    addressFault(json) ??
    capabilitiesFault(json.capabilities ?? {}) ??
    figuresFault(json.figures ?? {}, services as readonly string[])
  );
}

function servicesFault(services: unknown): string | null {
  if (!Array.isArray(services)) return 'services: not a list';
  if (services.length > RECORD_LIMITS.services) return `services: more than ${RECORD_LIMITS.services}`;
  for (const name of services) {
    if (typeof name !== 'string' || !isServiceName(name)) return 'services: not a service name';
  }
  return new Set(services).size === services.length ? null : 'services: named twice';
}

function pausedFault(paused: unknown, services: readonly string[]): string | null {
  if (!Array.isArray(paused)) return 'paused: not a list';
  if (paused.length > services.length) return 'paused: more than there are services';
  return paused.every((name) => services.includes(name)) ? null : 'paused: a service that is not offered';
}

function addressFault(json: Readonly<Record<string, unknown>>): string | null {
  const ip = json.vpn_ip ?? null;
  const port = json.inbound_port ?? null;
  const url = json.tunnel_url ?? null;
  if (ip !== null && !(typeof ip === 'string' && isUnicast(ip)))
    return 'vpn_ip: not the IP address of a host';
  if (port !== null && !(isNumber(port, 65535, true) && port >= 1)) return 'inbound_port: not 1 to 65535';
  if ((ip === null) !== (port === null)) return 'vpn_ip, inbound_port: one without the other';
  if (url !== null && !(typeof url === 'string' && isTunnelUrl(url))) {
    return `tunnel_url: not an https URL without credentials, query and fragment, ≤ ${RECORD_LIMITS.tunnelUrlChars}`;
  }
  return null;
}

/** Not the unspecified address, a multicast group or the broadcast address. */
export function isUnicast(ip: string): boolean {
  if (isIp4(ip)) return Number(ip.slice(0, ip.indexOf('.'))) < 224 && !ip.startsWith('0.');
  return isIp6(ip) && !/^ff/i.test(ip) && /[1-9a-f]/i.test(ip);
}

export function isTunnelUrl(text: string): boolean {
  // Checked before parsing: the URL parser drops tabs and line ends, and trims.
  if (text.length > RECORD_LIMITS.tunnelUrlChars || !WORKER_ID.test(text)) return false;
  const url = URL.parse(text);
  return (
    url !== null &&
    url.protocol === 'https:' &&
    url.hostname !== '' &&
    url.username === '' &&
    url.password === '' &&
    !/[?#\\]/.test(text)
  );
}

function capabilitiesFault(capabilities: unknown): string | null {
  if (!isObject(capabilities)) return 'capabilities: not an object';
  const entries = Object.entries(capabilities);
  if (entries.length > RECORD_LIMITS.capabilities)
    return `capabilities: more than ${RECORD_LIMITS.capabilities}`;
  for (const [key, value] of entries) {
    if (key.length > RECORD_LIMITS.capabilityKeyChars || !CAPABILITY_KEY.test(key)) {
      return 'capabilities: a key is not a name';
    }
    if (typeof value === 'string') {
      if (value.length > RECORD_LIMITS.capabilityValueChars) return 'capabilities: a value is too long';
      if (UNPRINTABLE.test(value)) return 'capabilities: a value has control characters';
    } else if (typeof value !== 'boolean' && !Number.isFinite(value)) {
      return 'capabilities: a value is not text, a finite number or a boolean';
    }
  }
  return null;
}

function figuresFault(figures: unknown, services: readonly string[]): string | null {
  if (!isObject(figures)) return 'figures: not an object';
  for (const [service, f] of Object.entries(figures)) {
    if (!services.includes(service)) return 'figures: of a service that is not offered';
    if (!isObject(f)) return 'figures: not an object per service';
    const max = RECORD_LIMITS.requests;
    if (!isNumber(f.in_flight, max, true)) return 'figures: in_flight is not a count';
    if (!isNumber(f.queued, max, true)) return 'figures: queued is not a count';
    if (!isNumber(f.concurrency, max, true)) return 'figures: concurrency is not a count';
    if (f.service_ms !== null && !isNumber(f.service_ms, RECORD_LIMITS.serviceMs, false)) {
      return 'figures: service_ms is not a time in ms or null';
    }
    if (f.session !== undefined && !isSession(f.session)) return 'figures: session is not what carries one';
  }
  return null;
}

function isSession(value: unknown): boolean {
  return (
    typeof value === 'string' && value.length <= RECORD_LIMITS.sessionChars && parseCarriers(value) !== null
  );
}

/** A number from 0 to `max`; a count is also whole. */
function isNumber(value: unknown, max: number, isCount: boolean): value is number {
  return typeof value === 'number' && value >= 0 && value <= max && (!isCount || Number.isSafeInteger(value));
}
