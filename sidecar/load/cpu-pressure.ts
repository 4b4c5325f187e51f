/**
 * CPU pressure: the share of time in which something in this container waited for a CPU, 0..1 (PSI).
 *
 * Beside use, because a container may wait long before its quota is used up (a crowded host), which its use does not
 * show. Only the container's own `cpu.pressure`, never the host's: that one is high as soon as any program anywhere
 * waits. From the counter and not the averages of 10 s: a second later is early enough.
 */
import { parseSelfCgroup } from './cpu-text.ts';

export interface PressureOptions {
  /** The text of a file, or null when it cannot be read. */
  readonly readText: (path: string) => string | null;
  /** Monotonic. */
  readonly nowMs: () => number;
}

const CGROUP_ROOT = '/sys/fs/cgroup';

/** Microseconds so far in which at least one task waited (kernel.org, accounting/psi); null = says nothing usable. */
export function parsePressureUs(text: string): number | null {
  const found = /^some (?:avg\d+=\d{1,3}(?:\.\d+)? )*total=(\d{1,19})$/m.exec(text);
  return found === null ? null : Number(found[1]);
}

export class PressureMeter {
  readonly #waitedUs: () => number | null;
  readonly #nowMs: () => number;
  #last: { readonly us: number; readonly atMs: number } | null = null;

  /** null where there is no PSI. */
  static open({ readText, nowMs }: PressureOptions): PressureMeter | null {
    const own = parseSelfCgroup(readText('/proc/self/cgroup') ?? '').v2;
    const places = own === null || own === '/' ? [''] : [own, ''];
    const waitedUs = (place: string): number | null => {
      // Only a container's own group has a limit file beside it; the root's group is the machine.
      if (readText(`${CGROUP_ROOT}${place}/cpu.max`) === null) return null;
      return parsePressureUs(readText(`${CGROUP_ROOT}${place}/cpu.pressure`) ?? '');
    };
    const place = places.find((each) => waitedUs(each) !== null);
    return place === undefined ? null : new PressureMeter(() => waitedUs(place), nowMs);
  }

  private constructor(waitedUs: () => number | null, nowMs: () => number) {
    this.#waitedUs = waitedUs;
    this.#nowMs = nowMs;
  }

  /** Share since the last call; null at the first. */
  sample(): number | null {
    const us = this.#waitedUs();
    const last = this.#last;
    this.#last = us === null ? null : { us, atMs: this.#nowMs() };
    if (last === null || this.#last === null) return null;
    const share = (this.#last.us - last.us) / ((this.#last.atMs - last.atMs) * 1000);
    // A counter that went back or a clock that stood still says nothing.
    return share >= 0 && Number.isFinite(share) ? Math.min(1, share) : null;
  }
}
