/**
 * The replay window: which counters of one caller's life were seen, in constant memory and time.
 *
 * A sliding bitmap (as in RFC 4303 §3.4.3, IPsec) instead of a set of nonces: a set of one minute of nonces at 10,000
 * requests/s is 100 MB and stops the process while it grows; this is 4 KiB and one bit per request.
 */

/**
 * Counters that may arrive out of order. A request can be held up by a connect time-out (3 s on a tunnel)
 * while later ones of the same caller pass it: at 10,000 requests/s that is 30,000.
 */
export const WINDOW_COUNTERS = 32_768;

/** Lives of one caller that are told apart at once: before and after a restart, and room for a crash loop. */
const MAX_SESSIONS = 4;

interface Session {
  readonly id: string;
  readonly seen: Uint32Array;
  /** Highest counter accepted; -1 = none. */
  top: number;
  /** Latest signed time that was accepted. */
  newestMs: number;
  /** What was signed at or before this may have been accepted when the session was known before. */
  readonly floorMs: number;
}

export class ReplayWindow {
  readonly #sessions: Session[] = [];
  #floorMs: number;

  /**
   * `floorMs`: requests of sessions that are not known yet, signed at or before this time, are refused, because what
   * was accepted of them may have been forgotten; for good, since a newer request makes its session known again.
   */
  constructor(floorMs: number) {
    this.#floorMs = floorMs;
  }

  /** Latest signed time that a forgotten or remembered session can have used. */
  get newestMs(): number {
    return this.#sessions.reduce((newest, s) => Math.max(newest, s.newestMs), this.#floorMs);
  }

  /**
   * True once per (session, counter). `signedMs` is the time inside the request, already checked to be near
   * now; `counter` is a whole number from 0 to 2⁴⁸ − 1.
   */
  accept(sessionId: string, counter: number, signedMs: number): boolean {
    let session = this.#sessions.find((s) => s.id === sessionId);
    if (session === undefined) {
      const floorMs = this.#floorMs;
      // A replay from a forgotten session carries a time at or before the newest that session used.
      if (signedMs <= floorMs) return false;
      if (this.#sessions.length >= MAX_SESSIONS) this.#forgetOldest();
      session = {
        id: sessionId,
        seen: new Uint32Array(WINDOW_COUNTERS / 32),
        top: -1,
        newestMs: signedMs,
        floorMs,
      };
      this.#sessions.push(session);
    }
    if (signedMs <= session.floorMs || !mark(session, counter)) return false;
    if (signedMs > session.newestMs) session.newestMs = signedMs;
    return true;
  }

  #forgetOldest(): void {
    let oldest = 0;
    this.#sessions.forEach((s, i) => {
      if (s.newestMs < (this.#sessions[oldest] as Session).newestMs) oldest = i;
    });
    const [gone] = this.#sessions.splice(oldest, 1);
    if (gone !== undefined && gone.newestMs > this.#floorMs) this.#floorMs = gone.newestMs;
  }
}

function mark(session: Session, counter: number): boolean {
  const { seen, top } = session;
  if (counter > top) {
    if (counter - top >= WINDOW_COUNTERS) seen.fill(0);
    else for (let c = top + 1; c < counter; c++) clear(seen, c);
    session.top = counter;
  } else if (top - counter >= WINDOW_COUNTERS) {
    return false;
  } else if (isSet(seen, counter)) {
    return false;
  }
  const slot = counter % WINDOW_COUNTERS;
  seen[slot >>> 5] = (seen[slot >>> 5] as number) | (1 << (slot & 31));
  return true;
}

function isSet(seen: Uint32Array, counter: number): boolean {
  const slot = counter % WINDOW_COUNTERS;
  return ((seen[slot >>> 5] as number) & (1 << (slot & 31))) !== 0;
}

function clear(seen: Uint32Array, counter: number): void {
  const slot = counter % WINDOW_COUNTERS;
  seen[slot >>> 5] = (seen[slot >>> 5] as number) & ~(1 << (slot & 31));
}
