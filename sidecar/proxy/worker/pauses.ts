/**
 * Which services of this worker their owner has taken out for a while: set from the admin port, kept in the state
 * directory, so that a restart does not give the machine away again.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../core/errors.ts';
import { parseJson } from '../../core/json.ts';
import type { Log } from '../../core/log.ts';
import type { LocalService } from './local-service.ts';

const FILE_NAME = 'paused.json';

/** What is shown of it. */
interface PauseState {
  readonly services: readonly {
    readonly service: string;
    readonly paused: boolean;
    readonly running: number;
  }[];
  /** Why a restart forgets it. */
  readonly not_kept?: string;
}

export interface PausesOptions {
  readonly services: ReadonlyMap<string, LocalService>;
  /** null = nothing is kept. */
  readonly stateDir: string | null;
  readonly log: Log;
}

export class Pauses {
  readonly #options: PausesOptions;
  /** Also of services that are not offered now. */
  readonly #paused: Set<string>;
  #fault: string | null = null;

  /** As they were kept. A file that cannot be read pauses nothing, and is said. */
  constructor(options: PausesOptions) {
    this.#options = options;
    this.#paused = new Set(this.#kept());
    this.apply();
    const paused = this.#names();
    if (paused.length > 0)
      options.log.warn(
        { services: paused, hint: 'dht-sidecar resume' },
        'paused, as before the restart: no request is taken',
      );
  }

  /** To be called when other services are offered. */
  apply(): void {
    for (const [name, service] of this.#options.services) service.setPaused(this.#paused.has(name));
  }

  /** One service, or all (null). null when it is not offered here. */
  set(service: string | null, isPaused: boolean): PauseState | null {
    const { log, services } = this.#options;
    if (service !== null && !services.has(service)) return null;
    const names = service === null ? [...services.keys()] : [service];
    if (service === null && !isPaused) this.#paused.clear();
    for (const name of names) {
      if (isPaused) this.#paused.add(name);
      else this.#paused.delete(name);
    }
    this.#fault = this.#keep();
    this.apply();
    log.info(
      { services: names, reason: this.#fault ?? undefined },
      isPaused ? 'paused: running requests end, new ones go elsewhere' : 'resumed',
    );
    return this.state();
  }

  state(): PauseState {
    const services = [...this.#options.services.values()].map(({ name, isPaused, admission }) => ({
      service: name,
      paused: isPaused,
      running: admission.inFlight,
    }));
    const { stateDir } = this.#options;
    const notKept = stateDir === null ? 'there is no state directory (state.dir)' : this.#fault;
    return { services, ...(notKept === null ? {} : { not_kept: notKept }) };
  }

  #names(): string[] {
    return [...this.#options.services.values()].filter((each) => each.isPaused).map(({ name }) => name);
  }

  #kept(): readonly string[] {
    const { log, stateDir } = this.#options;
    if (stateDir === null) return [];
    const file = join(stateDir, FILE_NAME);
    try {
      const names = parseJson(readFileSync(file));
      if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
      log.warn({ file }, 'which services were paused cannot be read: the file is not a list of names');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log.warn({ file, reason: messageOf(error) }, 'which services were paused cannot be read');
    }
    return [];
  }

  #keep(): string | null {
    const { log, stateDir } = this.#options;
    if (stateDir === null) return null;
    const file = join(stateDir, FILE_NAME);
    try {
      mkdirSync(stateDir, { recursive: true, mode: 0o700 });
      writeFileSync(`${file}.new`, `${JSON.stringify([...this.#paused].sort())}\n`, { flush: true });
      renameSync(`${file}.new`, file);
      return null;
    } catch (error) {
      const reason = messageOf(error);
      log.warn({ file, reason }, 'what is paused cannot be kept: it is forgotten at a restart');
      return reason;
    }
  }
}
