/**
 * Says once when a source of load fails and once when it is back, however often it is asked.
 *
 * Apart from the sources, so that all of them are loud in the same words and none floods the log. It must not know
 * how a source is read.
 */

export interface SourceLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export class SourceWatch {
  readonly #log: SourceLog;
  readonly #fields: Readonly<Record<string, unknown>>;
  #state: 'new' | 'speaks' | 'dropped' = 'new';

  /** `fields` name the source in each line. */
  constructor(log: SourceLog, fields: Readonly<Record<string, unknown>>) {
    this.#log = log;
    this.#fields = fields;
  }

  spoke(): void {
    if (this.#state === 'dropped') this.#log.info(this.#fields, 'load source is back');
    this.#state = 'speaks';
  }

  /** Silence of a source that never spoke is no failure (no GPU, first sample), unless there is a fault. */
  silent(fault: unknown): void {
    if (this.#state === 'dropped' || (fault === undefined && this.#state === 'new')) return;
    this.#state = 'dropped';
    const why = fault === undefined ? {} : { err: fault };
    this.#log.warn({ ...this.#fields, ...why }, 'load source failed; dropped until it speaks again');
  }
}
