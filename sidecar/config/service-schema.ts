/**
 * The options of one service: how the worker here is reached, and how the services of others are called.
 *
 * Apart from the schema of the whole sidecar, since each entry under `services` and `calls` is a small configuration of
 * its own, read by the same machinery. Time limits that are not set are those of the whole.
 */
import { isHostName } from '../core/host-port.ts';
import { LOAD_SOURCES } from './config.ts';
import { type Option, option, optional, type Parser } from './option.ts';
import { duration, flag, integer, list, oneOf, orNone, shown, text, url } from './parsers.ts';
import { SCHEMA } from './schema.ts';
import {
  healthAsk,
  metricMap,
  requirementList,
  sentHost,
  serviceName,
  sessionCarriers,
  slotRule,
} from './service-parsers.ts';
import { workerUrls } from './worker-url.ts';

/** Read where it is needed, so that another one is found when it changes. */
const filePath: Parser<string> = text('the path', 4096);

const hostName: Parser<string> = (raw) => {
  const value = text('the name', 253)(raw);
  if (isHostName(value)) return value;
  throw new Error(`${shown(raw)} is not the name of a host`);
};

const SERVICE_TIMEOUTS: { readonly [K in keyof typeof SCHEMA.timeouts]: Option<number | null> } = {
  vpnConnect: inherited('timeouts.vpnConnect', SCHEMA.timeouts.vpnConnect),
  tunnelConnect: inherited('timeouts.tunnelConnect', SCHEMA.timeouts.tunnelConnect),
  workerConnect: inherited('timeouts.workerConnect', SCHEMA.timeouts.workerConnect),
  head: inherited('timeouts.head', SCHEMA.timeouts.head),
  idle: inherited('timeouts.idle', SCHEMA.timeouts.idle),
};

function inherited<T>(key: string, from: Option<T>): Option<T | null> {
  return optional(from.parse, { doc: from.doc, defaultDoc: `\`${key}\`` });
}

/** The keys under `calls.<name>`. */
export const CALL_SCHEMA = {
  timeouts: SERVICE_TIMEOUTS,
  retryPost: optional(flag, {
    defaultDoc: '`retries.post`',
    doc: 'Whether a POST with `Idempotency-Key` may be sent again after it was sent once.',
  }),
  require: optional(requirementList, {
    defaultDoc: 'none',
    doc: 'Capabilities that a worker must have, besides those of `sidecar-require`: `gpu_type=RTX 4090|A100, vram_gb>=24`.',
  }),
  prefer: optional(requirementList, {
    defaultDoc: 'none',
    doc: 'Which workers come first among those, after `sidecar-prefer`: in the same form, the first term counts most.',
  }),
  retryRefused: optional(flag, {
    defaultDoc: '`retries.refused`',
    doc: 'Whether a request that a worker refuses for now goes to another one.',
  }),
  session: optional(sessionCarriers, {
    mapping: true,
    defaultDoc: 'what the workers say; `{header: mcp-session-id}`',
    doc: 'What carries a session that a worker gives, so that its requests come back to that worker: `{header: mcp-session-id}`, `{cookie: sid}`, or both; `none` = nothing does. It is enough that the sidecar beside the worker says it.',
  }),
};

/** The keys under `services.<name>`. */
export const SERVICE_SCHEMA = {
  url: optional(workerUrls, {
    defaultDoc: 'required',
    doc: 'Where the worker listens, with its base path: `http://…` and `https://…` are spoken to in HTTP/1.1, `h2c://…` in HTTP/2 (prior knowledge, no TLS), whatever the app speaks. gRPC needs `h2c://`. `unix:/run/llm.sock` is a Unix socket; behind a colon the base path (`unix:/run/llm.sock:/v1`), or the Host and it (`unix:/run/llm.sock:llm.local/v1`); `h2c+unix:/run/llm.sock` for gRPC. A list where several processes serve it, such as one for each GPU.',
  }),
  tls: {
    ca: optional(filePath, {
      defaultDoc: "the system's",
      doc: 'PEM file of the only CAs that may have signed the certificate of an `https://` worker. It and the next two are read again when they change, for new connections.',
    }),
    cert: optional(filePath, {
      defaultDoc: 'none',
      doc: 'PEM file of the certificate (and its chain) that the worker is shown.',
    }),
    key: optional(filePath, {
      defaultDoc: 'none',
      doc: 'PEM file of its private key, without a passphrase.',
    }),
    name: optional(hostName, {
      defaultDoc: 'the host of `url`',
      doc: 'The name that the worker is asked for (SNI) and that its certificate must be for.',
    }),
    insecure: option(flag, 'false', {
      doc: 'Take whatever certificate the worker has, expired, self-signed or for another name: whoever answers at that address then gets the requests. For trials; `tls.ca` is the safe way to trust a certificate of your own.',
    }),
  },
  host: option(sentHost, 'worker', {
    doc: 'The `Host` that the worker is sent: `worker` = that of `url`; `keep` = the one that the app sent, for workers that build links from it or compare it with `Origin`; else a name of its own.',
  }),
  concurrency: optional(orNone(integer(1, 100_000)), {
    defaultDoc: '`defaults.concurrency`',
    doc: 'Requests that the worker serves at once, with all of its `slots.group`; `none` = no limit. Of several URLs each serves so many.',
  }),
  queue: optional(integer(0, 100_000), {
    defaultDoc: '`defaults.queue`',
    doc: 'Requests that may wait for a slot.',
  }),
  slots: {
    group: optional(serviceName, {
      defaultDoc: 'its own',
      doc: 'Name of slots that several services share, such as those of one GPU: `gpu0`. Their `concurrency` is that of all together; it is enough that one says it.',
    }),
    free: optional(list(slotRule), {
      defaultDoc: 'none',
      doc: 'Requests that never wait and hold no slot: `["/interrupt", "GET /models", "/files/*", "OPTIONS"]`. The path is that below the service, compared byte for byte without its query; `*` at its end stands for any rest.',
    }),
    light: optional(list(slotRule), {
      defaultDoc: 'none',
      doc: 'Requests that hold a slot and are no work, written likewise: what they take says nothing of how long the worker takes.',
    }),
    channels: option(flag, 'false', {
      doc: 'Whether WebSockets and other upgrades, and event streams that a GET opens, hold a slot for as long as they are open: `true` where they are the work itself.',
    }),
  },
  aliases: optional(list(serviceName), {
    defaultDoc: 'none',
    doc: 'Other names for it, for apps that call here.',
  }),
  health: {
    path: optional(healthAsk, {
      defaultDoc: '`defaults.health`',
      doc: 'Asked with GET; any 2xx or 3xx is healthy. `grpc`, or `grpc:<service>` = `SERVING` by `grpc.health.v1` (`h2c://` alone; unless told otherwise it is asked there, and where the worker does not serve it a connection is enough). `none` = a TCP connection is enough.',
    }),
    interval: option(duration('50ms', '10m'), '2s', { doc: 'How often it is asked.' }),
    timeout: option(duration('10ms', '5m'), '1s', {
      doc: 'How long it may take; while the worker is at work, as long as that.',
    }),
    healthyAfter: option(integer(1, 100), '1', { doc: 'Successes in a row before the worker is ready.' }),
    unhealthyAfter: option(integer(1, 100), '3', {
      doc: 'Failures in a row before a ready worker counts as gone; a refused connection counts at once. By default that is within two intervals.',
    }),
  },
  load: {
    source: option(oneOf(LOAD_SOURCES), 'auto', {
      doc: `What its load is: ${LOAD_SOURCES.join(', ')}; \`auto\` = the highest of the others that are known. \`cpu\` is use and pressure; \`worker\` is its own word: the header \`endpoint-load-metrics\` on its responses, \`PUT /load\` on the admin port, or its metrics.`,
    }),
    metricsUrl: optional(url(['http', 'https']), {
      defaultDoc: 'none',
      doc: 'Prometheus text of the worker, asked for its load. By `https://` with the `tls` of the service where the page has the host of an `https://` worker, else by the CAs of the system.',
    }),
    metrics: optional(metricMap, {
      mapping: true,
      defaultDoc: "vLLM's requests running and waiting against `concurrency`, and its KV cache",
      doc: 'What counts on that page: a mapping from the name of a metric to the value at which the worker is full; the highest wins. Series of one metric are added, unless the limit is 1 or less: then the highest counts.',
    }),
    interval: option(duration('100ms', '10m'), '1s', { doc: 'How often that page is read.' }),
  },
  warmingLimit: option(duration('1s', '1d'), '10m', {
    doc: 'How long the worker may take to become ready (to load its model).',
  }),
  ...CALL_SCHEMA,
};
