/**
 * How often records may be asked for in vain: by the key that was announced, and by where it is said to stand.
 *
 * An announcement is somebody's word that a worker is at an address, and each costs a connection that may last until its
 * time limit. One address is one worker, or a few lives of it; where several fetches have failed one at a time is
 * enough, and what a host that takes connections and never answers costs is bounded, whatever is announced for it.
 */
import type { HostPort } from '../../core/host-port.ts';
import { formatHostPort } from '../../core/host-port.ts';

/** Fetches that run: at an address, at one where the last few have failed, and at a host where very many have. */
const MAX_AT_ADDRESS = 4;
const MAX_AT_FAILING = 1;
const MAX_AT_FAILING_HOST = 4;

/** Failures in a row, within the time below, that make one "failing"; of a key, that make it wait. */
const FAILING_AFTER = 3;
const FAILING_HOST_AFTER = 32;
const FORGET_MS = 30_000;

/** A key that failed so often waits for so long, twice as long each time. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

/** Of keys, addresses and hosts each; the oldest go. */
const MAX_KNOWN = 4_096;

interface Tally {
  running: number;
  failures: number;
  failedAtMs: number;
}

export class FetchBudget {
  readonly #keys = new Map<string, Tally>();
  readonly #addresses = new Map<string, Tally>();
  readonly #hosts = new Map<string, Tally>();

  /** Whether it may be asked for now. If so it counts as running, until the returned function is called. */
  begin(keyHex: string, at: HostPort, nowMs: number): ((isOk: boolean, nowMs: number) => void) | null {
    const key = tallyOf(this.#keys, keyHex, nowMs);
    const address = tallyOf(this.#addresses, formatHostPort(at), nowMs);
    const host = tallyOf(this.#hosts, at.host, nowMs);
    const most = address.failures >= FAILING_AFTER ? MAX_AT_FAILING : MAX_AT_ADDRESS;
    const isHostFull = host.failures >= FAILING_HOST_AFTER && host.running >= MAX_AT_FAILING_HOST;
    if (address.running >= most || isHostFull || nowMs < key.failedAtMs + waitMs(key.failures)) return null;
    const tallies = [key, address, host];
    for (const tally of tallies) tally.running++;
    return (isOk, endMs) => {
      for (const tally of tallies) {
        tally.running--;
        tally.failures = isOk ? 0 : tally.failures + 1;
        if (!isOk) tally.failedAtMs = endMs;
      }
    };
  }
}

function waitMs(failures: number): number {
  if (failures < FAILING_AFTER) return 0;
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - FAILING_AFTER));
}

function tallyOf(tallies: Map<string, Tally>, name: string, nowMs: number): Tally {
  let tally = tallies.get(name);
  if (tally === undefined) {
    if (tallies.size >= MAX_KNOWN) forgetOne(tallies);
    tally = { running: 0, failures: 0, failedAtMs: Number.NEGATIVE_INFINITY };
    tallies.set(name, tally);
  }
  if (nowMs - tally.failedAtMs > FORGET_MS) tally.failures = 0;
  return tally;
}

/** The oldest of those where nothing runs. */
function forgetOne(tallies: Map<string, Tally>): void {
  for (const [name, { running }] of tallies) {
    if (running > 0) continue;
    tallies.delete(name);
    return;
  }
}
