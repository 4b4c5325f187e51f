/**
 * What a worker takes for a request, where it serves requests of many kinds: an average for each class, weighted by the
 * time that it spends on them.
 *
 * One average over all would say of a worker that got more cheap calls that it is the quicker one, and give it more of the
 * dear ones: GETs of 2 ms beside completions of seconds put 71 % of these on one of two equal workers. Weighted by time,
 * calls that cost nothing count for nothing. Of one class it is the average of that class.
 */
import { ServiceTime } from './service-time.ts';

/** More classes than this take the place of the one on which least time is spent. */
const MAX_CLASSES = 16;

/** After so many samples the time spent is halved: what was long ago counts less. */
const HALVE_EVERY = 512;

/** Until there are so many samples, classes that are not known yet make the whole unknown. */
const FEW = 20;

/** Of a path that is longer, this says which class it is. */
const MAX_PATH = 128;

/** Longer parts of a path are names of things, as those with a digit are, and not of actions. */
const MAX_WORD = 32;

interface ClassTime {
  readonly time: ServiceTime;
  spentMs: number;
}

export class ServiceTimes {
  readonly #classes = new Map<number, ClassTime>();
  /** Of any class: for when most of the time goes to classes of which too little is known. */
  readonly #all = new ServiceTime();
  #count = 0;

  add(requestClass: number, serviceMs: number, nowMs: number): void {
    if (!Number.isFinite(serviceMs)) return;
    this.#all.add(serviceMs, nowMs);
    const entry = this.#classes.get(requestClass) ?? this.#begin(requestClass);
    entry.time.add(serviceMs, nowMs);
    entry.spentMs += Math.max(0, serviceMs);
    this.#count += 1;
    if (this.#count % HALVE_EVERY === 0) for (const each of this.#classes.values()) each.spentMs /= 2;
  }

  /** null = unknown. A busy worker is not forgotten, however long its requests take. */
  valueAt(nowMs: number, isBusy: boolean): number | null {
    let spentMs = 0;
    let knownMs = 0;
    let sum = 0;
    let only: number | null = null;
    for (const { time, spentMs: spent } of this.#classes.values()) {
      spentMs += spent;
      const value = time.valueAt(nowMs, isBusy);
      if (value === null) continue;
      only = value;
      knownMs += spent;
      sum += spent * value;
    }
    if (this.#classes.size <= 1) return only;
    if (knownMs > 0 && 2 * knownMs >= spentMs) return sum / knownMs;
    return this.#count < FEW ? null : this.#all.valueAt(nowMs, isBusy);
  }

  #begin(requestClass: number): ClassTime {
    if (this.#classes.size >= MAX_CLASSES) this.#dropLeast();
    const entry = { time: new ServiceTime(), spentMs: 0 };
    this.#classes.set(requestClass, entry);
    return entry;
  }

  #dropLeast(): void {
    let least = 0;
    let leastMs = Number.POSITIVE_INFINITY;
    for (const [requestClass, { spentMs }] of this.#classes) {
      if (spentMs >= leastMs) continue;
      least = requestClass;
      leastMs = spentMs;
    }
    this.#classes.delete(least);
  }
}

/**
 * Requests of one method and path are one class, whatever stands where the path names a thing (`/jobs/17`, `/jobs/18`);
 * the query is no part of it. A number, so that nothing is allocated for it.
 */
export function requestClass(method: string, target: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < method.length; i += 1) hash = mixed(hash, method.charCodeAt(i));
  const end = Math.min(target.length, MAX_PATH);
  let word = hash;
  let length = 0;
  let isThing = false;
  for (let i = 0; i <= end; i += 1) {
    const unit = i < end ? target.charCodeAt(i) : 0x3f;
    if (unit === 0x2f || unit === 0x3f) {
      hash = mixed(isThing || length > MAX_WORD ? mixed(hash, 0x2a) : word, 0x2f);
      if (unit === 0x3f) break;
      word = hash;
      length = 0;
      isThing = false;
      continue;
    }
    if (unit >= 0x30 && unit <= 0x39) isThing = true;
    word = mixed(word, unit);
    length += 1;
  }
  return hash;
}

/** FNV-1a. */
function mixed(hash: number, unit: number): number {
  return Math.imul(hash ^ unit, 0x01000193);
}
