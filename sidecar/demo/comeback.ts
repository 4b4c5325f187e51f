/**
 * The worker that dies in the demo and comes back: when it was killed, started again, and answered again.
 *
 * Seen from the app, since the point is not that a process runs but that it is used.
 */
export class Comeback {
  /** Which worker; null when none is to die. */
  readonly workerId: string | null;
  readonly #nowMs: () => number;
  killedAtMs: number | null = null;
  #restartedAtMs: number | null = null;
  #usedAtMs: number | null = null;
  #use: () => void = () => {};
  /** Resolves with the first response of its new life. */
  readonly isUsed = new Promise<void>((resolve) => {
    this.#use = resolve;
  });

  /** `nowMs`: since the traffic began. */
  constructor(workerId: string | null, nowMs: () => number) {
    this.workerId = workerId;
    this.#nowMs = nowMs;
  }

  get restartedAtMs(): number | null {
    return this.#restartedAtMs;
  }

  /** From its restart to its first response; null until then. */
  get usedAfterMs(): number | null {
    return this.#usedAtMs === null || this.#restartedAtMs === null
      ? null
      : this.#usedAtMs - this.#restartedAtMs;
  }

  killed(): void {
    this.killedAtMs = this.#nowMs();
  }

  restarting(): void {
    this.#restartedAtMs = this.#nowMs();
  }

  /** A response of this worker came to the app. */
  answered(workerId: string): void {
    if (workerId !== this.workerId || this.#restartedAtMs === null || this.#usedAtMs !== null) return;
    this.#usedAtMs = this.#nowMs();
    this.#use();
  }
}
