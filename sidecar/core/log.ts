/**
 * The log as every part sees it: fields first, then the sentence, as pino takes them.
 *
 * The field names are one list and a type, so that `peer`, `peerId` and `peer_key` cannot live side by side and no
 * secret has a field to hide in. Declared here, so that mesh/ and load/ need neither pino nor observe/.
 */

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['json', 'pretty'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The allowed field names and what each holds. */
export const LOG_FIELDS = {
  address: 'host:port of a listener or a node',
  addresses: 'several of them',
  age_s: 'how old the datum is, seconds',
  attempts: 'attempts made for one request',
  bytes: 'a size',
  code: 'a code of the error table',
  count: 'how many of what the message names',
  days_left: 'of a certificate; negative once it has ended',
  detail: 'what exactly, in words',
  device: 'a network device',
  duration_ms: 'how long it took',
  ends: 'when a certificate ends',
  err: 'an error, with its causes',
  exit_code: 'of a process',
  failures: 'failures in a row',
  file: 'path of a file',
  hint: 'what the operator can do about it',
  in_flight: 'requests being served',
  load: '0 idle to 1 full',
  method: 'HTTP method',
  nodes: 'DHT nodes known',
  option: 'a configuration key',
  outcome: 'how it ended',
  part: 'which part of the sidecar speaks',
  path: 'path of a URL, without its query',
  peer: 'public key of a peer, hex',
  peers: 'peers known',
  pid: 'of a process',
  reason: 'why, as a code or in a few words',
  request: 'request id',
  route: 'local, vpn, p2p or tunnel',
  service: 'a service',
  services: 'several of them',
  signal: 'a signal of the system',
  source: 'where a figure or a record came from',
  state: 'the state that something is now in',
  status: 'HTTP status',
  storers: 'DHT nodes that keep an announcement',
  url: 'of a worker or a tunnel, without credentials or query',
  version: 'of this program',
  wait_ms: 'until the next try',
  worker: 'worker_id of a peer',
} as const;

export type LogFields = { readonly [Name in keyof typeof LOG_FIELDS]?: unknown };

type Write = (fields: LogFields, message: string) => void;

export interface Log {
  readonly trace: Write;
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  readonly fatal: Write;
  /** The same log with these fields on every line. */
  child(fields: LogFields): Log;
}

function nothing(): void {}

/** For tests and for commands that speak by themselves. */
export const silentLog: Log = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
  child: () => silentLog,
};
