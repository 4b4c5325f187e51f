/**
 * The differences between an exchange with a worker and the same one through two sidecars: the whole list, once.
 *
 * docs/http.md shows it as its tables, the transparency test takes it as its oracle: a field that no entry covers must
 * arrive as it was sent, in its place.
 */
import { first } from '../../../sidecar/core/http/headers.ts';

/** A message as one end saw it, and what it belongs to. */
export interface Seen {
  readonly fields: string[];
  /** Of the app's request. */
  readonly version: '1.0' | '1.1';
  readonly method: string;
  /** Of the response; 0 in a request. */
  readonly status: number;
  readonly framing: 'none' | 'length' | 'chunked' | 'close';
}

/** What the two sidecars and the worker are called. */
export interface Facts {
  readonly outbound: string;
  readonly inbound: string;
  readonly workerHost: string;
  readonly workerId: string;
  /** In which the worker answers. */
  readonly workerVersion: '1.0' | '1.1';
  /** As the app named it in Host; '' for none. */
  readonly host: string;
}

type Expected = readonly (string | RegExp)[];

export interface Difference {
  /** The first cell of its row. */
  readonly fields: string;
  /** The second cell. */
  readonly what: string;
  /** Lower-case names that may appear without having been sent. */
  readonly names: readonly string[];
  covers?(name: string, direct: Seen): boolean;
  /** The values that arrive under this name. */
  expected(name: string, direct: Seen, facts: Facts): Expected;
}

/** By which the service is called. */
const PREFIX = '/service/llm-inference';

const GONE = (): Expected => [];

function valuesOf(name: string, { fields }: Seen): string[] {
  return fields.filter((_, i) => i % 2 === 1 && fields[i - 1]?.toLowerCase() === name);
}

/** What a Connection field can never name, beside the fields of the sidecars: docs/http.md has the reasons. */
const NOT_TO_BE_NAMED: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'content-type', 'content-encoding', 'authorization', 'cookie', 'set-cookie'],
  ...['cache-control', 'expect', 'idempotency-key', 'max-forwards', 'via', 'forwarded'],
  ...['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-prefix'],
]);

function isNamedByConnection(name: string, direct: Seen): boolean {
  const options = valuesOf('connection', direct).flatMap((value) =>
    value.toLowerCase().split(/[ \t]*,[ \t]*/),
  );
  return options.includes(name) && !NOT_TO_BE_NAMED.has(name);
}

const CONNECTION_FIELDS: Difference = {
  fields: '`Keep-Alive`, `Proxy-Connection`, `Upgrade`, `HTTP2-Settings`, and what `Connection` names',
  what: 'taken out: they are for one connection. What decides length, target, author or trace cannot be named.',
  names: ['keep-alive', 'proxy-connection', 'upgrade', 'http2-settings'],
  covers: isNamedByConnection,
  expected: GONE,
};

const SIDECAR_FIELDS: Difference = {
  fields:
    'any `sidecar-*` (in whatever spelling: `sidecar_*`), `endpoint-load-metrics`, `endpoint-load-metrics-bin` of app or worker',
  what: 'taken out: they are words of the sidecars.',
  names: ['endpoint-load-metrics', 'endpoint-load-metrics-bin'],
  covers: (name) => /^sidecar[^a-z0-9]/.test(name),
  expected: GONE,
};

export const REQUEST_DIFFERENCES: readonly Difference[] = [
  {
    fields: '`Host`',
    what: 'replaced by the host and port of the worker’s URL, as the first field (`services.<name>.host`: that of the app, or a name).',
    names: ['host'],
    expected: (_name, _direct, { workerHost }) => [workerHost],
  },
  {
    fields: '`Content-Length`, `Transfer-Encoding`',
    what: 'written anew as the last fields, with the same framing: a length stays that length, chunks stay chunked (cut at other places, without extensions).',
    names: ['content-length', 'transfer-encoding'],
    expected: (name, direct) => {
      if (name === 'transfer-encoding') return direct.framing === 'chunked' ? ['chunked'] : [];
      return direct.framing === 'length' ? [String(Number(first(direct.fields, name)))] : [];
    },
  },
  {
    fields: '`TE`, `Connection`',
    what: 'taken out; `TE: trailers` with `Connection: TE` is said anew where the app accepts trailers.',
    names: ['te', 'connection'],
    expected: (name, direct) => {
      const isAccepted = valuesOf('te', direct).some((value) =>
        /(^|,)[ \t]*trailers[ \t]*(,|;|$)/i.test(value),
      );
      return isAccepted ? [name === 'te' ? 'trailers' : 'TE'] : [];
    },
  },
  SIDECAR_FIELDS,
  CONNECTION_FIELDS,
  {
    fields: '`Proxy-Authorization`, `Proxy-Authenticate`, `Proxy-Authentication-Info`',
    what: 'taken out: they are between the app and this proxy.',
    names: ['proxy-authorization', 'proxy-authenticate', 'proxy-authentication-info'],
    expected: GONE,
  },
  {
    fields: '`Authorization: Bearer` with a token of `outbound.token` or `outbound.tokens`',
    what: 'taken out: it was for this sidecar. Any other passes.',
    names: [],
    expected: GONE,
  },
  {
    fields: '`Forwarded`, `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-Prefix`',
    what: 'replaced by what the sidecars know (with `trustForwarded`: added to what the app said).',
    names: ['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-prefix'],
    expected: (name, _direct, { host }) => {
      if (name === 'x-forwarded-prefix') return [PREFIX];
      if (name === 'x-forwarded-for') return ['127.0.0.1, 127.0.0.1'];
      if (name === 'x-forwarded-proto') return ['http'];
      if (name === 'x-forwarded-host') return [host === '' ? /./ : host];
      return [
        /^for=127\.0\.0\.1;by=_a-outbound(;host=[^;]+)?;proto=http, for=127\.0\.0\.1;by=_b-inbound;host=[^;]+;proto=http$/,
      ];
    },
  },
  {
    fields: '`X_Forwarded_For` and any other spelling of `X-Forwarded-*`',
    what: 'taken out: much software takes it for the field that the sidecars write.',
    names: [],
    covers: (name) => /^x[^a-z0-9]forwarded[^a-z0-9]/.test(name) && /[^a-z0-9-]/.test(name),
    expected: GONE,
  },
  {
    fields: '`Origin`, `Referer` of a page that came through the sidecar',
    what: 'name the worker’s own origin in place of the app’s, as `Host` does; see “A service mounted under a prefix”.',
    names: ['origin', 'referer'],
    expected: (name, direct) => valuesOf(name, direct),
  },
  {
    fields: '`Via`',
    what: 'one line added by each sidecar, with the version it was asked in.',
    names: ['via'],
    expected: (name, direct, { outbound, inbound }) => [
      ...valuesOf(name, direct),
      `${direct.version} ${outbound}`,
      `1.1 ${inbound}`,
    ],
  },
  {
    fields: '`Max-Forwards` of OPTIONS and TRACE',
    what: 'less by one at each sidecar.',
    names: ['max-forwards'],
    expected: (name, direct) => {
      const isCounted = direct.method === 'OPTIONS' || direct.method === 'TRACE';
      return valuesOf(name, direct).map((value) => (isCounted ? String(Number(value) - 2) : value));
    },
  },
  {
    fields: '`Expect` of an HTTP/1.0 request',
    what: 'taken out: such a client does not wait.',
    names: ['expect'],
    expected: (name, direct) => (direct.version === '1.0' ? [] : valuesOf(name, direct)),
  },
];

export const ANSWER_DIFFERENCES: readonly Difference[] = [
  {
    fields: '`sidecar-worker`, `sidecar-route`, `sidecar-attempts`, `sidecar-request-id`',
    what: 'added to the final response: who gave it, by which way, at which attempt.',
    names: ['sidecar-worker', 'sidecar-route', 'sidecar-attempts', 'sidecar-request-id'],
    expected: (name, { status }, { workerId }) => {
      if (status < 200) return [];
      if (name === 'sidecar-worker') return [workerId];
      if (name === 'sidecar-route') return ['vpn'];
      return name === 'sidecar-attempts' ? ['1'] : [/^[0-9a-f]{12}-[0-9a-z]+$/];
    },
  },
  {
    fields: '`Transfer-Encoding`',
    what: 'written anew: a response that has neither length nor end but the close of its connection becomes chunked; chunks become such a response for an HTTP/1.0 app; none is told of a response without content.',
    names: ['transfer-encoding'],
    expected: (_name, { framing, version }) =>
      version === '1.1' && (framing === 'chunked' || framing === 'close') ? ['chunked'] : [],
  },
  {
    fields: '`Content-Length` of a 1xx or 204',
    what: 'taken out.',
    names: ['content-length'],
    expected: (name, direct) => (direct.status < 200 || direct.status === 204 ? [] : valuesOf(name, direct)),
  },
  {
    fields: '`Connection`',
    what: 'of this connection alone: `close` where the app’s connection ends after the response.',
    names: ['connection'],
    expected: (_name, { status, version }) => (version === '1.0' && status >= 200 ? ['close'] : []),
  },
  {
    fields:
      '`Location`, `Content-Location`, `Refresh`, `Set-Cookie` that name the worker’s own origin or paths',
    what: 'name the app’s; see “A service mounted under a prefix”.',
    names: ['location', 'content-location', 'refresh', 'set-cookie'],
    expected: (name, direct) =>
      valuesOf(name, direct).map((value) => {
        if (name !== 'set-cookie') return value.replace(/^\/(?!\/)/, `${PREFIX}/`);
        return value.startsWith('__Host-') ? value : value.replace(/(;\s*path=)\//i, `$1${PREFIX}/`);
      }),
  },
  SIDECAR_FIELDS,
  CONNECTION_FIELDS,
  {
    fields: '`TE`, `Proxy-Authorization`, `Proxy-Authenticate`, `Proxy-Authentication-Info`',
    what: 'taken out: they are for one connection.',
    names: ['te', 'proxy-authorization', 'proxy-authenticate', 'proxy-authentication-info'],
    expected: GONE,
  },
  {
    fields: '`Via`',
    what: 'one line added by each sidecar, also to 1xx, with the version it was answered in.',
    names: ['via'],
    expected: (name, direct, { inbound, outbound, workerVersion }) => [
      ...valuesOf(name, direct),
      `${direct.status < 200 ? '1.1' : workerVersion} ${inbound}`,
      `1.1 ${outbound}`,
    ],
  },
  {
    fields: '`Date`',
    what: 'added to a final response that has none.',
    names: ['date'],
    expected: (name, direct) => {
      const given = valuesOf(name, direct);
      return given.length > 0 || direct.status < 200 ? given : [/ GMT$/];
    },
  },
];

/** Fields that may not stand in trailers, beside those above that are taken out or replaced. */
const NEVER_TRAILERS: ReadonlySet<string> = new Set([
  ...NOT_TO_BE_NAMED,
  ...['content-range', 'content-location', 'trailer', 'range', 'www-authenticate'],
  ...['te', 'upgrade', 'connection', 'keep-alive', 'http2-settings', 'proxy-connection', 'transfer-encoding'],
  ...['proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info'],
  ...['endpoint-load-metrics', 'endpoint-load-metrics-bin'],
]);

/** The trailers that arrive of those that were sent in a message with this head. */
export function expectedTrailers(trailers: readonly string[], direct: Seen): string[] {
  const kept: string[] = [];
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i]?.toLowerCase() ?? '';
    if (NEVER_TRAILERS.has(name) || name.startsWith('sidecar-') || isNamedByConnection(name, direct))
      continue;
    kept.push(trailers[i] as string, trailers[i + 1] as string);
  }
  return kept;
}

/** What is wrong with the fields that came through the mesh; empty when they differ as documented and not otherwise. */
export function undocumented(
  differences: readonly Difference[],
  direct: Seen,
  meshed: readonly string[],
  facts: Facts,
): string[] {
  const entryOf = (name: string): Difference | undefined =>
    differences.find((entry) => entry.names.includes(name) || entry.covers?.(name, direct) === true);
  const untouched = (fields: readonly string[]): string[] => {
    const kept: string[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      if (entryOf((fields[i] as string).toLowerCase()) === undefined)
        kept.push(`${fields[i]}: ${fields[i + 1]}`);
    }
    return kept;
  };
  const faults: string[] = [];
  const sent = untouched(direct.fields);
  const came = untouched(meshed);
  if (sent.join('\n') !== came.join('\n'))
    faults.push(`sent:\n${sent.join('\n')}\ncame:\n${came.join('\n')}`);
  const names = new Set<string>(differences.flatMap((entry) => entry.names));
  for (const fields of [direct.fields, meshed])
    for (let i = 0; i < fields.length; i += 2) names.add((fields[i] as string).toLowerCase());
  for (const name of names) {
    const entry = entryOf(name);
    if (entry === undefined) continue;
    const expected = entry.expected(name, direct, facts);
    const values = valuesOf(name, { ...direct, fields: [...meshed] });
    const isSame =
      expected.length === values.length &&
      expected.every((each, i) =>
        typeof each === 'string' ? each === values[i] : each.test(values[i] as string),
      );
    if (!isSame) faults.push(`${name}: [${values.join(' | ')}] instead of [${expected.join(' | ')}]`);
  }
  return faults;
}
