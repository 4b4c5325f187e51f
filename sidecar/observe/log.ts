/**
 * Makes the log: one line per event that an operator may act on, by pino.
 *
 * Nothing per request at `info`: that is what the metrics are for.
 */
import { type DestinationStream, pino, stdSerializers, stdTimeFunctions } from 'pino';
import type { Log, LogFormat, LogLevel } from '../core/log.ts';
import { logSink } from './log-sink.ts';
import { textDestination } from './log-text.ts';

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly workerId: string;
  /** Gets whole lines. */
  readonly sink: DestinationStream;
}

export function createLog(options: LogOptions): Log {
  return createPino(options);
}

function createPino(options: LogOptions): pino.Logger {
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
export function createStdoutLog(options: Omit<LogOptions, 'sink'>): {
  readonly log: Log;
  setLevel(level: LogLevel): void;
} {
  const log = createPino({
    ...options,
    sink: logSink(1, (count, reason) =>
      log.warn({ count, reason }, 'lines of this log could not be written and are lost'),
    ),
  });
  const setLevel = (level: LogLevel): void => {
    log.level = level;
  };
  return { log, setLevel };
}
