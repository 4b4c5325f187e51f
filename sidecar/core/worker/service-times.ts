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
  readonly requestClass: number;
  readonly time: ServiceTime;
  spentMs: number;
}

export class ServiceTimes {
  /** Few, and searched for each request without leaving anything behind. */
  readonly #classes: ClassTime[] = [];
  /** Since there is a second class, of any: for when most of the time goes to classes of which too little is known. */
  #all: ServiceTime | null = null;
  #count = 0;

  add(requestClass: number, serviceMs: number, nowMs: number): void {
    if (!Number.isFinite(serviceMs)) return;
    const entry = this.#find(requestClass) ?? this.#begin(requestClass);
    entry.time.add(serviceMs, nowMs);
    entry.spentMs += Math.max(0, serviceMs);
    this.#all?.add(serviceMs, nowMs);
    this.#count += 1;
    if (this.#count % HALVE_EVERY === 0) for (const each of this.#classes) each.spentMs /= 2;
  }

  /** null = unknown. A busy worker is not forgotten, however long its requests take. */
  valueAt(nowMs: number, isBusy: boolean): number | null {
    const all = this.#all;
    if (all === null) return this.#classes[0]?.time.valueAt(nowMs, isBusy) ?? null;
    let spentMs = 0;
    let knownMs = 0;
    let sum = 0;
    for (const each of this.#classes) {
      spentMs += each.spentMs;
      const value = each.time.valueAt(nowMs, isBusy);
      if (value === null) continue;
      knownMs += each.spentMs;
      sum += each.spentMs * value;
    }
    if (knownMs > 0 && 2 * knownMs >= spentMs) return sum / knownMs;
    return this.#count < FEW ? null : all.valueAt(nowMs, isBusy);
  }

  #find(requestClass: number): ClassTime | undefined {
    const classes = this.#classes;
    for (let i = 0; i < classes.length; i += 1)
      if ((classes[i] as ClassTime).requestClass === requestClass) return classes[i];
    return undefined;
  }

  #begin(requestClass: number): ClassTime {
    if (this.#classes.length > 0) this.#all ??= new ServiceTime();
    const entry = { requestClass, time: new ServiceTime(), spentMs: 0 };
    if (this.#classes.length < MAX_CLASSES) this.#classes.push(entry);
    else this.#classes[this.#indexOfLeast()] = entry;
    return entry;
  }

  #indexOfLeast(): number {
    let least = 0;
    for (const [at, { spentMs }] of this.#classes.entries())
      if (spentMs < (this.#classes[least] as ClassTime).spentMs) least = at;
    return least;
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
