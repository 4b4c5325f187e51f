/**
 * What the mesh asks of a logger: fields first, then the sentence, as pino takes them.
 *
 * Declared here, where it is used, so that mesh/ needs neither pino nor observe/. It must not know levels
 * other than these three: an error that somebody must act on is a warning with a hint, and nothing in
 * discovery is fatal.
 */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  debug(fields: object, message: string): void;
}

/** For tests and for commands that speak by themselves. */
export const silentLog: Log = {
  info() {},
  warn() {},
  debug() {},
};
