/**
 * Log: one line per event that an operator may act on, with field names from one list.
 *
 * The list is a type, so that `peer`, `peerId` and `peer_key` cannot live side by side and no secret has a
 * field to hide in. Nothing per request at `info`: that is what the metrics are for. It must not know where
 * its lines go.
 */
import { type DestinationStream, pino, stdSerializers, stdTimeFunctions } from 'pino';
import { logSink } from './log-sink.ts';
import { textDestination } from './log-text.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
export type LogFormat = 'json' | 'pretty';

/** The allowed field names and what each holds. */
export const LOG_FIELDS = {
  address: 'host:port of a listener or a node',
  addresses: 'several of them',
  age_s: 'how old the datum is, seconds',
  attempts: 'attempts made for one request',
  bytes: 'a size',
  code: 'a code of the error table',
  count: 'how many of what the message names',
  detail: 'what exactly, in words',
  duration_ms: 'how long it took',
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

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly workerId: string;
  /** Gets whole lines. */
  readonly sink: DestinationStream;
}

export function createLog(options: LogOptions): Log {
  const sink = options.format === 'pretty' ? textDestination(options.sink) : options.sink;
  return pino(
    {
      level: options.level,
      base: { worker_id: options.workerId },
      messageKey: 'message',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      serializers: { err: stdSerializers.err },
    },
    sink,
  );
}

/** To standard output. */
export function createStdoutLog(options: Omit<LogOptions, 'sink'>): Log {
  const log = createLog({
    ...options,
    sink: logSink(1, (count, reason) =>
      log.warn({ count, reason }, 'lines of this log could not be written and are lost'),
    ),
  });
  return log;
}
