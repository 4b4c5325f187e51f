/**
 * The mistakes found in a configuration, gathered so that one run shows all of them.
 *
 * A collector instead of the first exception: fixing five mistakes should not take five starts.
 */

/** All mistakes at once; `problems` are lines for people. Test by `code`. */
export class ConfigError extends Error {
  readonly code = 'bad_config';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? '1 mistake' : `${problems.length} mistakes`;
    super(`${count} in the configuration:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export function isConfigError(value: unknown): value is ConfigError {
  return (
    value instanceof Error &&
    (value as { code?: unknown }).code === 'bad_config' &&
    Array.isArray((value as { problems?: unknown }).problems)
  );
}

const MAX_PROBLEMS = 100;
const MAX_LENGTH = 500;

export class Problems {
  readonly #lines: string[] = [];
  #more = 0;

  /** `where` is what the reader must change: a variable, an argument or a key of the file. */
  add(where: string, what: string): void {
    const whole = `${where}: ${what}`;
    const line = whole.length > MAX_LENGTH ? `${whole.slice(0, MAX_LENGTH)}…` : whole;
    if (this.#lines.includes(line)) return;
    if (this.#lines.length < MAX_PROBLEMS) this.#lines.push(line);
    else this.#more += 1;
  }

  /** Runs `parse`; its error becomes a problem and the result undefined. */
  attempt<T>(where: string, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      this.add(where, error instanceof Error ? error.message : 'cannot be read');
      return undefined;
    }
  }

  get lines(): readonly string[] {
    return this.#more === 0 ? this.#lines : [...this.#lines, `… and ${this.#more} more`];
  }
}
