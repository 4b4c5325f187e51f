/**
 * Every option of the whole sidecar (those of one service: service-schema): key, unit, default, environment variable
 * and what it means.
 *
 * The one place for defaults and their documentation; docs/configuration.md is generated from it. The shape of the file
 * is the shape of the tree.
 */
import { POLICY_NAMES } from '../core/balancing/balancer.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../core/log.ts';
import { option, optional } from './option.ts';
import {
  byteSize,
  calledName,
  cidr,
  decimal,
  duration,
  flag,
  hostPort,
  hostPorts,
  integer,
  ipAddress,
  list,
  oneOf,
  orNone,
  pageOrigins,
  text,
  tunnelPlace,
  url,
} from './parsers.ts';
import {
  aliasMap,
  appTokens,
  capabilityMap,
  healthAsk,
  perService,
  serviceMap,
  serviceName,
  workerName,
} from './service-parsers.ts';

const RARE = 'Rarely changed.';

export const SCHEMA = {
  worker: {
    id: optional(workerName, {
      env: 'SIDECAR_WORKER_ID',
      defaultDoc: 'that of the certificate, else the host name',
      doc: 'Unique name of this worker.',
    }),
    capabilities: optional(capabilityMap, {
      env: 'SIDECAR_CAPABILITIES',
      mapping: true,
      defaultDoc: 'detected',
      doc: 'What the worker is, in addition to what is detected (`has_gpu`, `gpu_count`, `gpu_type`, `vram_gb` of the smallest, `worker_type`, `cpu_cores`, `memory_gb`, `arch`), or in its place: `gpu_type=RTX 4090,vram_gb=24`.',
    }),
  },
  services: optional(serviceMap, {
    env: 'SIDECAR_SERVICES',
    mapping: true,
    defaultDoc: 'none',
    doc: 'What the worker offers: `name=http://127.0.0.1:9000,other=http://127.0.0.1:9001/base`; `h2c://` for a worker of gRPC, `https://`, or `unix:/run/llm.sock:/base` for a Unix socket. A name that is there several times has several URLs: `llm=http://127.0.0.1:9000,llm=http://127.0.0.1:9001`. In the file a mapping from name to URL (or a list of them), or to the keys of "One service" below.',
  }),
  calls: optional(serviceMap, {
    mapping: true,
    defaultDoc: 'none',
    doc: 'How services of others are called: a mapping from name to `timeouts`, `retryPost`, `require` and `prefer` as in "One service".',
  }),
  aliases: optional(aliasMap, {
    env: 'SIDECAR_ALIASES',
    mapping: true,
    defaultDoc: 'none',
    doc: 'Other names that apps here may call services by: `llm=llm-inference`.',
  }),
  defaults: {
    concurrency: option(perService(orNone(integer(1, 100_000))), 'none', {
      env: 'SIDECAR_CONCURRENCY',
      mapping: true,
      doc: 'Requests that the worker serves at once, for each service that does not say it itself: `4`, or `llm-inference=4,notes-coa=1`. `none` = no limit.',
    }),
    queue: option(perService(integer(0, 100_000)), '32', {
      env: 'SIDECAR_QUEUE',
      mapping: true,
      doc: 'Requests that may wait for a slot, likewise. Beyond that the response is `saturated`.',
    }),
    health: optional(perService(healthAsk), {
      env: 'SIDECAR_HEALTH',
      mapping: true,
      defaultDoc: 'none; `h2c://`: `grpc` where the worker serves it',
      doc: 'Health path of the worker, likewise: `/health`; `grpc` or `grpc:<service>` = by `grpc.health.v1`. `none` = a TCP connection is enough.',
    }),
  },
  assumedConcurrency: option(integer(1, 100_000), '16', {
    env: 'SIDECAR_ASSUMED_CONCURRENCY',
    doc: 'Requests at which a service without a limit counts as fully loaded.',
  }),
  outbound: {
    listen: option(hostPorts('127.0.0.1'), '127.0.0.1:8010', {
      env: 'SIDECAR_OUTBOUND',
      doc: 'Where apps call: one `host:port` or several. Here as elsewhere `localhost` is 127.0.0.1 and ::1.',
    }),
    token: optional(text('the token', 512), {
      env: 'SIDECAR_OUTBOUND_TOKEN',
      secret: true,
      defaultDoc: 'none',
      doc: 'Token that apps must send, as `sidecar-token` or as `Authorization: Bearer`; one is required when `outbound.listen` is not loopback. At least 16 characters.',
    }),
    tokens: optional(appTokens, {
      env: 'SIDECAR_OUTBOUND_TOKENS',
      secret: true,
      mapping: true,
      defaultDoc: 'none',
      doc: 'Tokens of apps by name, beside or in place of `token`: `chat=…,notes=…`, in a file one a line. The name stands in metrics and `/explain` as `app`.',
    }),
    hosts: optional(list(calledName), {
      env: 'SIDECAR_OUTBOUND_HOSTS',
      defaultDoc: 'none',
      doc: 'More names that apps call this sidecar by (`host.docker.internal`), besides those of loopback, addresses and `<service>.mesh`: any other Host is refused, since a web page could have made its own name mean this host. Not looked at where a token is wanted.',
    }),
    origins: option(pageOrigins, 'loopback', {
      env: 'SIDECAR_OUTBOUND_ORIGINS',
      doc: 'Whose web pages may call, here and on the admin port: `loopback` (pages of servers on this host), origins such as `https://app.example.org`, several of them, `*` for any or `none`. They get CORS; all other pages of elsewhere are refused.',
    }),
  },
  inbound: {
    listen: optional(hostPort(''), {
      env: 'SIDECAR_INBOUND',
      defaultDoc: '`<vpn ip>:8000`, else `127.0.0.1:8000`',
      doc: 'Where peers and the tunnel call. A port alone takes the address from the default.',
    }),
  },
  admin: {
    listen: option(hostPort('127.0.0.1'), '127.0.0.1:9464', {
      env: 'SIDECAR_ADMIN',
      doc: 'Metrics, health, status page.',
    }),
    hosts: optional(list(calledName), {
      env: 'SIDECAR_ADMIN_HOSTS',
      defaultDoc: 'none',
      doc: 'More names that this port is called by, as in `outbound.hosts`: that of its container, where Prometheus asks by it.',
    }),
    token: optional(text('the token', 512), {
      env: 'SIDECAR_ADMIN_TOKEN',
      secret: true,
      defaultDoc: 'none',
      doc: 'Token that callers from other hosts must send, as `Authorization: Bearer`; required when `admin.listen` is not loopback. `/livez` and `/readyz` want none. At least 16 characters.',
    }),
    openMetrics: option(flag, 'false', {
      env: 'SIDECAR_ADMIN_OPEN_METRICS',
      doc: 'Whether `/metrics` wants no token either.',
    }),
  },
  vpn: {
    ip: optional(orNone(ipAddress), {
      env: 'SIDECAR_VPN_IP',
      defaultDoc: 'the address of this host inside `vpn.cidr`',
      doc: 'VPN address to advertise; `none` for no VPN.',
    }),
    cidr: option(cidr, '10.42.0.0/16', { env: 'SIDECAR_VPN_CIDR', doc: 'The Nebula network.' }),
    interface: optional(text('the network device', 64), {
      env: 'SIDECAR_VPN_INTERFACE',
      defaultDoc: 'any with an address inside `vpn.cidr`, that of a VPN first',
      doc: 'The network device of the VPN, such as `nebula1`, where several have an address inside `vpn.cidr`.',
    }),
  },
  tunnel: {
    url: optional(url(['https']), {
      env: 'SIDECAR_TUNNEL_URL',
      defaultDoc: 'none',
      doc: 'Public URL to advertise, https.',
    }),
    cloudflaredMetrics: optional(hostPort('127.0.0.1'), {
      env: 'SIDECAR_CLOUDFLARED_METRICS',
      defaultDoc: 'none',
      doc: "`host:port` of cloudflared's metrics: the tunnel URL is learnt from its `/quicktunnel`.",
    }),
    ca: optional(text('the path', 4096), {
      env: 'SIDECAR_TUNNEL_CA',
      defaultDoc: "the system's CAs",
      doc: 'PEM file with the only CAs to trust for tunnels.',
    }),
    allow: optional(list(tunnelPlace), {
      env: 'SIDECAR_TUNNEL_ALLOW',
      defaultDoc: 'none',
      doc: 'Where tunnels of peers may lead besides public addresses: `loopback`, `link-local`, `private`, networks such as `10.1.0.0/16` or `fd00::/8`. A name counts by the address that is connected to.',
    }),
    heartbeat: option(duration('0s', '10m'), '60s', {
      env: 'SIDECAR_TUNNEL_HEARTBEAT',
      doc: 'After so much silence of the worker a comment is put into an event stream that leaves by the tunnel, whose edge would cut it; `0s` = never.',
    }),
    maxBody: option(byteSize('1', '1TiB'), '100MB', {
      env: 'SIDECAR_TUNNEL_MAX_BODY',
      doc: 'Longest request body that tunnels carry; a longer one takes another way if there is one.',
    }),
    firstByte: option(duration('1s', '1d'), '100s', {
      env: 'SIDECAR_TUNNEL_FIRST_BYTE',
      doc: 'How long the edge of tunnels waits for an answer to begin; a service that has taken longer is called by another way if there is one.',
    }),
  },
  mesh: {
    key: optional(text('the key', 4096), {
      env: 'SIDECAR_MESH_KEY',
      secret: true,
      defaultDoc: 'required, unless a certificate is given',
      doc: 'Membership: 32 bytes as 64 hex digits. `dht-sidecar mesh new` makes one.',
    }),
    cert: optional(text('the certificate', 65_536), {
      env: 'SIDECAR_CERT',
      secret: true,
      defaultDoc: 'none',
      doc: 'A worker certificate instead of the mesh key: what `dht-sidecar mesh sign` answered to `mesh join` (its key is in `state.dir`), or what `mesh cert` made.',
    }),
  },
  dht: {
    bootstrap: optional(list(hostPort('')), {
      env: 'SIDECAR_BOOTSTRAP',
      defaultDoc: 'none: this sidecar is the first node',
      doc: '`host:port,…` of any nodes of the private DHT.',
    }),
    listen: optional(hostPort(''), {
      env: 'SIDECAR_DHT_LISTEN',
      defaultDoc: 'the VPN address, any port (`bootstrap`: 49737)',
      doc: 'UDP address of the DHT node. A port alone takes the VPN address, or all addresses without VPN.',
    }),
    announceInterval: option(duration('1s', '10m'), '60s', {
      env: 'SIDECAR_DHT_ANNOUNCE_INTERVAL',
      doc: `How often each service is announced, ± 15 %. ${RARE}`,
    }),
    maxAge: option(duration('2s', '1h'), '180s', {
      env: 'SIDECAR_DHT_MAX_AGE',
      doc: `How long a DHT node keeps an announcement. The same on all nodes. ${RARE}`,
    }),
  },
  cache: {
    ttl: option(duration('100ms', '1d'), '60s', {
      env: 'SIDECAR_CACHE_TTL',
      doc: 'How long the known peers of a service stay fresh; refreshed in the background at half of it.',
    }),
    firstLookupWait: option(duration('10ms', '60s'), '3s', {
      env: 'SIDECAR_FIRST_LOOKUP_WAIT',
      doc: 'How long the first request for a service waits for the first worker that can be reached.',
    }),
  },
  probe: {
    fewInterval: option(duration('50ms', '10m'), '2s', {
      env: 'SIDECAR_PROBE_FEW_INTERVAL',
      doc: `How often a peer not heard from is asked, with up to 10 peers. ${RARE}`,
    }),
    manyInterval: option(duration('50ms', '10m'), '5s', {
      env: 'SIDECAR_PROBE_MANY_INTERVAL',
      doc: `The same with more peers. ${RARE}`,
    }),
    timeout: option(duration('300ms', '60s'), '1s', {
      env: 'SIDECAR_PROBE_TIMEOUT',
      doc: `How long a probe may take. ${RARE}`,
    }),
  },
  balance: {
    policy: option(oneOf(POLICY_NAMES), 'adaptive', {
      env: 'SIDECAR_POLICY',
      doc: `How a peer is chosen: ${POLICY_NAMES.map((policy) => `\`${policy}\``).join(', ')}.`,
    }),
  },
  gpu: {
    metricsUrl: optional(url(['http']), {
      env: 'SIDECAR_GPU_METRICS',
      defaultDoc: 'none: `nvidia-smi`, where there is one',
      doc: 'Page of a DCGM exporter, asked each second for the use of the GPUs.',
    }),
    devices: optional(list(text('the device', 128)), {
      env: 'SIDECAR_GPU_DEVICES',
      defaultDoc: 'all',
      doc: 'Which GPUs on that page are those of this worker: index, UUID or device name.',
    }),
  },
  timeouts: {
    vpnConnect: option(duration('10ms', '5m'), '1s', {
      env: 'SIDECAR_TIMEOUT_VPN_CONNECT',
      doc: 'Connecting to a peer by VPN.',
    }),
    tunnelConnect: option(duration('10ms', '5m'), '3s', {
      env: 'SIDECAR_TIMEOUT_TUNNEL_CONNECT',
      doc: 'Connecting to a peer by tunnel, TLS included.',
    }),
    workerConnect: option(duration('10ms', '5m'), '1s', {
      env: 'SIDECAR_TIMEOUT_WORKER_CONNECT',
      doc: 'Connecting to the local worker.',
    }),
    head: option(duration('10ms', '1d'), '10m', {
      env: 'SIDECAR_TIMEOUT_HEAD',
      doc: 'From the end of the request to the head of the response.',
    }),
    idle: option(duration('10ms', '1d'), '5m', {
      env: 'SIDECAR_TIMEOUT_IDLE',
      doc: 'Between two bytes of a body. The total is not limited; a caller can set `sidecar-deadline-ms`.',
    }),
  },
  retries: {
    budgetRatio: option(decimal(0, 1), '0.2', {
      env: 'SIDECAR_RETRY_BUDGET_RATIO',
      doc: 'Retries allowed per request, on the average.',
    }),
    perSecond: option(integer(0, 10_000), '10', {
      env: 'SIDECAR_RETRY_PER_SECOND',
      doc: 'Retries allowed per second on top of that.',
    }),
    replay: option(byteSize('0', '16MiB'), '64KiB', {
      env: 'SIDECAR_RETRY_REPLAY',
      doc: 'Of a request body kept for sending it again; a longer body is not retried once sent.',
    }),
    post: optional(list(serviceName), {
      env: 'SIDECAR_RETRY_POST',
      defaultDoc: 'none',
      doc: 'Services for which a POST with `Idempotency-Key` may be sent again after it was sent once.',
    }),
    refused: option(flag, 'true', {
      env: 'SIDECAR_RETRY_REFUSED',
      doc: 'Whether a request that a worker refuses for now (429, 503 with Retry-After, gRPC RESOURCE_EXHAUSTED or UNAVAILABLE before any message) goes to another worker, whatever its method, if its body can be sent again.',
    }),
  },
  limits: {
    maxHead: option(byteSize('1KiB', '1MiB'), '64KiB', {
      env: 'SIDECAR_MAX_HEAD',
      doc: 'Largest header section, trailers included.',
    }),
    maxFields: option(integer(8, 10_000), '200', { env: 'SIDECAR_MAX_FIELDS', doc: 'Most header fields.' }),
    maxTarget: option(byteSize('64', '1MiB'), '16KiB', {
      env: 'SIDECAR_MAX_TARGET',
      doc: 'Longest path with query.',
    }),
    headTimeout: option(duration('100ms', '10m'), '10s', {
      env: 'SIDECAR_HEAD_TIMEOUT',
      doc: 'From the first byte of a request head to its end.',
    }),
  },
  drain: {
    accept: option(duration('0s', '10m'), '2s', {
      env: 'SIDECAR_DRAIN_ACCEPT',
      doc: 'After SIGTERM (or SIGINT, or SIGHUP) new requests are still taken for this long.',
    }),
    wait: option(duration('0s', '1d'), '120s', {
      env: 'SIDECAR_DRAIN_WAIT',
      doc: 'Then the running ones may take this long, and the apps here are still served. Keep both below the time after which the process is killed (`docker stop`: 10 s, Kubernetes: 30 s).',
    }),
    quiet: option(duration('0s', '10m'), '5s', {
      env: 'SIDECAR_DRAIN_QUIET',
      doc: 'Within that, apps that have asked for nothing for this long are taken to be done, and `outbound` ends.',
    }),
  },
  trustForwarded: option(flag, 'false', {
    env: 'SIDECAR_TRUST_FORWARDED',
    doc: 'Whether `Forwarded` and `X-Forwarded-*` of apps are kept and added to, instead of replaced.',
  }),
  state: {
    dir: optional(text('the path', 4096), {
      env: 'SIDECAR_STATE_DIR',
      defaultDoc: 'none',
      doc: 'Directory in which identity and last-known-good view survive a restart.',
    }),
  },
  log: {
    level: option(oneOf(LOG_LEVELS), 'info', {
      env: 'SIDECAR_LOG_LEVEL',
      doc: `One of ${LOG_LEVELS.join(', ')}.`,
    }),
    format: option(oneOf(LOG_FORMATS), 'json', {
      env: 'SIDECAR_LOG_FORMAT',
      doc: `One of ${LOG_FORMATS.join(', ')}.`,
    }),
  },
};
