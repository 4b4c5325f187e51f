/**
 * Says in the log that a worker's answers are not well-formed HTTP: a fault of the worker that its operator has to see, in
 * the sidecar of the app and in that of the worker.
 *
 * Once a minute for each service: a broken worker answers as often as it is asked. Of good requests it looks at two fields.
 */
import type { Code } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { FinishedInbound, FinishedOutbound } from '../proxy/observers.ts';

const EVERY_MS = 60_000;

/** Services are named by apps; the number of those that have failing workers is small, and bounded for the rest. */
const MAX_SERVICES = 1_000;

const MALFORMED: Code = 'upstream_protocol';

export class MalformedLog {
  readonly #log: Log;
  readonly #saidAtMs = new Map<string, number>();

  constructor(log: Log) {
    this.#log = log;
  }

  inbound({ code, detail, service }: FinishedInbound): void {
    if (code === MALFORMED) this.#say(`inbound ${service}`, { service, reason: detail ?? '' });
  }

  outbound({ attempts, code, detail, id, peer, service }: FinishedOutbound): void {
    const attempt = attempts.length === 0 ? undefined : attempts.find((each) => each.code === MALFORMED);
    if (attempt !== undefined)
      this.#say(`outbound ${service}`, {
        service,
        worker: attempt.peer,
        request: id,
        reason: attempt.reason,
      });
    else if (code === MALFORMED)
      this.#say(`outbound ${service}`, { service, worker: peer ?? '', request: id, reason: detail ?? '' });
  }

  #say(key: string, fields: Readonly<Record<string, string>>): void {
    const nowMs = performance.now();
    if (nowMs - (this.#saidAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < EVERY_MS) return;
    if (this.#saidAtMs.size >= MAX_SERVICES) this.#saidAtMs.clear();
    this.#saidAtMs.set(key, nowMs);
    this.#log.warn(
      fields,
      "a worker's answer is not well-formed HTTP, or does not come from the worker that was asked",
    );
  }
}
