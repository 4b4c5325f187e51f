/**
 * Parsers of the values that are particular to this program: names, paths, and mappings by service.
 *
 * Apart from parsers.ts, which would do for any program. Names are strict here because they become parts of URLs, host
 * names, DHT topics and metric labels. They must not know the name of an option.
 */
import type { SentHost } from '../core/forwarding/mount.ts';
import { isHost } from '../core/http/request-target.ts';
import { NO_SESSIONS, type SessionCarriers, sessionCarrier } from '../core/http/session-carrier.ts';
import { isWorkerId } from '../core/peers/certificate.ts';
import { RECORD_LIMITS, UNPRINTABLE } from '../core/peers/record.ts';
import { type Capabilities, parseRequirements, type Requirement } from '../core/peers/requirements.ts';
import { isServiceName } from '../core/service-name.ts';
import { type HealthAsk, parseHealthAsk } from '../core/worker/health-ask.ts';
import { parseSlotRule, type SlotRule } from '../core/worker/slot-rules.ts';
import type { Parser } from './option.ts';
import { decimal, pairs, shown, text } from './parsers.ts';

// The offered ones must fit into a certificate.
const MAX_CALLED = 1000;
const MAX_METRICS = 32;
/** Each is a label value of a metric. */
const MAX_APPS = 100;
const MAX_TOKEN_CHARS = 512;
const MAX_METRIC_LIMIT = 1e12;

export const serviceName: Parser<string> = (raw) => {
  if (typeof raw === 'string' && isServiceName(raw)) return raw;
  throw new Error(
    `${shown(raw)} is not a service name (1 to 63 of a–z in lower case, 0–9, ".", "_", "-", ends with a letter or digit)`,
  );
};

export const workerName: Parser<string> = (raw) => {
  const value = text('the name')(raw);
  if (isWorkerId(value)) return value;
  throw new Error(
    `${shown(raw)} is not a worker name (1 to ${RECORD_LIMITS.workerIdChars} visible ASCII characters)`,
  );
};

/** `worker`, `keep`, or the name itself, with or without a port. */
export const sentHost: Parser<SentHost> = (raw) => {
  const value = text('the host', 261)(raw);
  if (value === 'worker' || value === 'keep') return { kind: value };
  if (isHost(value)) return { kind: 'name', name: value };
  throw new Error(`${shown(raw)} is neither worker, keep nor a host (such as jupyter.example or a:8080)`);
};

/** A path of visible ASCII with or without a query, `grpc`, `grpc:<service>`, or `none`. */
export const healthAsk: Parser<HealthAsk> = (raw) => {
  const ask = parseHealthAsk(text('the path', 2048)(raw));
  if (ask !== null) return ask;
  throw new Error(`${shown(raw)} is not a path that starts with /, nor grpc, grpc:<service> or none`);
};

/** `/interrupt`, `GET`, `GET /models`, `/files/*`. */
export const slotRule: Parser<SlotRule> = (raw) => {
  const rule = typeof raw === 'string' ? parseSlotRule(raw) : null;
  if (rule !== null) return rule;
  throw new Error(
    `${shown(raw)} is neither a path ("/interrupt", "/files/*") nor a method ("GET") nor both ("GET /models")`,
  );
};

/** Service → what the option says of it, not looked at yet (services.ts does); text, or a list, gives `url` alone. */
export const serviceMap: Parser<ReadonlyMap<string, unknown>> = (raw) => {
  const found = new Map<string, unknown>();
  for (const [name, value] of pairs(raw, 'name=url')) {
    // A name once more is another URL of the same service.
    const earlier = found.get(name);
    if (earlier !== undefined && typeof raw !== 'string') throw new Error(`${shown(name)} is there twice`);
    found.set(name, earlier === undefined ? value : [earlier, value].flat());
  }
  if (found.size > MAX_CALLED) throw new Error(`more than ${MAX_CALLED} services`);
  return found;
};

/** Alias → service. */
export const aliasMap: Parser<ReadonlyMap<string, string>> = (raw) => {
  const found = new Map<string, string>();
  for (const [alias, service] of pairs(raw, 'alias=service')) {
    const target = serviceName(service);
    const earlier = found.get(serviceName(alias));
    if (earlier !== undefined && earlier !== target) throw new Error(`the alias ${alias} is there twice`);
    found.set(alias, target);
  }
  if (found.size > 1000) throw new Error('more than 1000 aliases');
  return found;
};

/** App → its token. Nothing of either is repeated: whoever mistakes their order has written a token for a name. */
export const appTokens: Parser<ReadonlyMap<string, string>> = (raw) => {
  const isText = typeof raw === 'string';
  if (!isText && !(raw instanceof Map)) throw new Error('expected a mapping from app to token');
  const lines = isText ? raw.split(/[,\n]/).map((line) => line.trim()) : [];
  if (lines.some((line) => line !== '' && line.indexOf('=') < 1))
    throw new Error('an entry is not of the form app=token');
  const found = new Map<string, string>();
  for (const [name, value] of pairs(isText ? lines.join(',') : raw, 'app=token')) {
    if (!isServiceName(name)) throw new Error('the name of an app is not 1 to 63 of a–z, 0–9, ".", "_", "-"');
    if (typeof value !== 'string') throw new Error(`the token of ${name} must be text; put it in quotes`);
    if (value.length > MAX_TOKEN_CHARS)
      throw new Error(`the token of ${name} is longer than ${MAX_TOKEN_CHARS} characters`);
    if (found.has(name)) throw new Error(`the app ${name} is there twice`);
    found.set(name, value);
  }
  if (found.size > MAX_APPS) throw new Error(`more than ${MAX_APPS} apps`);
  return found;
};

export type PerService<T> =
  | { readonly kind: 'all'; readonly value: T }
  | { readonly kind: 'each'; readonly values: ReadonlyMap<string, T> };

/** One value for all services, or `name=value,…` (a mapping in the file). */
export function perService<T>(parse: Parser<T>): Parser<PerService<T>> {
  return (raw) => {
    if (!(raw instanceof Map) && !(typeof raw === 'string' && raw.includes('='))) {
      return { kind: 'all', value: parse(raw) };
    }
    const values = new Map<string, T>();
    for (const [name, value] of pairs(raw, 'name=value')) values.set(serviceName(name), parse(value));
    return { kind: 'each', values };
  };
}

/** `gpu_type=RTX 4090|A100, vram_gb>=24`. */
export const requirementList: Parser<readonly Requirement[]> = (raw) => {
  if (typeof raw !== 'string')
    throw new Error(`${shown(raw)} is not text like "gpu_type=RTX 4090, vram_gb>=24"`);
  const found = parseRequirements(raw);
  if ('fault' in found) throw new Error(found.fault);
  return found;
};

/** `{header: mcp-session-id}`, `{cookie: sid}`, both, or `none`. */
export const sessionCarriers: Parser<SessionCarriers> = (raw) => {
  if (raw === 'none' || raw === false || raw === 'false') return NO_SESSIONS;
  const found = pairs(raw, 'header=name or cookie=name');
  if (found.length === 0) throw new Error('neither a header nor a cookie is named; say none for no sessions');
  const kinds = new Set(found.map(([kind]) => kind));
  if (kinds.size < found.length) throw new Error('one header and one cookie at most');
  return found.map(([kind, name]) => {
    if (kind !== 'header' && kind !== 'cookie')
      throw new Error(`${shown(kind)} is neither header nor cookie`);
    const carrier = typeof name === 'string' ? sessionCarrier(kind, name) : null;
    if (carrier !== null) return carrier;
    throw new Error(`${shown(name)} is not the name of a ${kind} that can carry a session`);
  });
};

function capability(value: unknown): string | number | boolean {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'string' && value.length <= 128 && !UNPRINTABLE.test(value)) {
    if (value === 'true' || value === 'false') return value === 'true';
    return /^-?\d{1,15}(?:\.\d{1,6})?$/.test(value) ? Number(value) : value;
  }
  throw new Error(
    `${shown(value)} is not text of up to 128 printable characters, a finite number, true or false`,
  );
}

/** `has_gpu=true,gpu_type=RTX 4090`: numbers, true and false become such. */
export const capabilityMap: Parser<Capabilities> = (raw) => {
  const entries = pairs(raw, 'name=value');
  if (entries.length > RECORD_LIMITS.capabilities)
    throw new Error(`more than ${RECORD_LIMITS.capabilities} capabilities`);
  for (const [name] of entries) {
    if (!/^[a-z][a-z0-9_]{0,62}$/.test(name))
      throw new Error(`${shown(name)} is not a capability (a–z, 0–9 and "_")`);
  }
  return Object.fromEntries(entries.map(([name, value]) => [name, capability(value)]));
};

/** Name of a metric → the value at which the worker is full. */
export const metricMap: Parser<ReadonlyMap<string, number>> = (raw) => {
  const found = new Map<string, number>();
  for (const [name, value] of pairs(raw, 'name=limit')) {
    if (!/^[a-zA-Z_:][a-zA-Z0-9_:]{0,199}$/.test(name))
      throw new Error(`${shown(name)} is not the name of a metric`);
    const limit = decimal(0, MAX_METRIC_LIMIT)(value);
    if (limit === 0) throw new Error(`the limit of ${name} is 0: at which value is the worker full?`);
    found.set(name, limit);
  }
  if (found.size === 0) throw new Error('no metric is named');
  if (found.size > MAX_METRICS) throw new Error(`more than ${MAX_METRICS} metrics`);
  return found;
};
