/**
 * What each candidate is worth now: its live load, its requests and slots, and the expected time there.
 *
 * From what was reported, how old that is, and what I have sent since; columns of numbers that are kept from choice to
 * choice, so that 1,000 candidates cost no allocation. Every number in them is finite, whatever a peer reported. The
 * formula and its reasons: ARCHITECTURE, "Balancing".
 */
import { FRESH_MS, failureRateAt } from '../peers/accounting.ts';
import type { Endpoint } from '../peers/peer.ts';
import { firstRoute } from '../peers/route-order.ts';
import type { Candidates } from './candidates.ts';
import { medianInPlace } from './median.ts';

/** Slots of a peer that does not say them, when no other one does. */
const ASSUMED_SLOTS = 8;

/** Service time while nobody knows one: only sets what a tunnel's extra time is compared with. */
const ASSUMED_SERVICE_MS = 100;

/** How many sidecars beside me are taken to do what I do, at most. */
const MAX_ACTIVE_CALLERS = 4;

/**
 * A queue takes so many times what the mean service time says: who waits does so for what is left of requests under
 * way, which is (1 + cv²) / 2 of the mean (renewal theory), and work is heavy-tailed: cv² about 2.
 */
const WAIT_FACTOR = 1.5;

/** Deviations of the service time from the median that count as none, and from which on they count in full. */
const DEAD_BAND = 0.35;
const FULL_BAND = 0.7;

/** What a failure rate of 1 adds, in multiples of the service time. */
const FAILURE_FACTOR = 20;

/** Medians are taken of so many candidates at most: of a sample beyond, which serves as well. */
const MEDIAN_SAMPLE = 256;

/** Larger figures are as bad as this one. */
const MAX_REQUESTS = 1e6;
const MAX_SERVICE_MS = 1e9;

/** Shorter ones are as good as this one. */
const MIN_SERVICE_MS = 1e-3;

export class Scores {
  count = 0;
  /** How much the report counts, 1 fresh … 0 older than the TTL or never. */
  weight = new Float64Array(0);
  /** Load as it should be by now, with what I have sent since the report. 1 = full; more when it queues. */
  load = new Float64Array(0);
  /** Requests there, serving and waiting. */
  requests = new Float64Array(0);
  slots = new Float64Array(0);
  /** Service time after the dead band, in ms. */
  serviceMs = new Float64Array(0);
  /** What the route adds, in ms. */
  extraMs = new Float64Array(0);
  /** Expected time there, in ms. */
  expectedMs = new Float64Array(0);
  /** Requests that I have sent and the last report does not know. */
  unreported = new Float64Array(0);
  /** 1 = the first route is not a tunnel. */
  isDirect = new Uint8Array(0);
  /** 1 = its service time is only taken to be the usual one, and it has not failed lately. */
  isUntried = new Uint8Array(0);
  /** Requests of others per slot, as reported. */
  #use = new Float64Array(0);
  #scratch = new Float64Array(0);
  readonly #ttlMs: number;

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  fill(candidates: Candidates, nowMs: number): void {
    const { count, endpoints } = candidates;
    if (count > this.weight.length) this.#grow(count);
    this.count = count;
    const isAged = this.#read(endpoints, nowMs);
    const usualSlots = this.#median(this.slots, true) || ASSUMED_SLOTS;
    for (let i = 0; i < count; i += 1) {
      if ((this.slots[i] as number) > 0) continue;
      this.slots[i] = usualSlots;
      // A peer without a limit says by its load how full it is.
      this.#use[i] = Math.max((this.#use[i] as number) / usualSlots, this.load[i] as number);
    }
    const usualMs = this.#median(this.serviceMs, true) || ASSUMED_SERVICE_MS;
    // Only where a report is not fresh do these two stand in for it.
    const usualLoad = isAged ? this.#median(this.load, false) || 0 : 0;
    const usualUse = isAged ? this.#median(this.#use, false) || 0 : 0;
    for (let i = 0; i < count; i += 1) {
      this.#measure(i, endpoints[i] as Endpoint, nowMs, usualMs, usualLoad, usualUse);
    }
  }

  /** Everything that was reported, bounded, into the columns. Returns whether any of it is not fresh. */
  #read(endpoints: readonly Endpoint[], nowMs: number): boolean {
    let isAged = false;
    for (let i = 0; i < this.count; i += 1) {
      const endpoint = endpoints[i] as Endpoint;
      const ageMs = nowMs - endpoint.reportedAtMs;
      let weight = 1;
      if (!(ageMs <= FRESH_MS)) {
        weight = ageMs < this.#ttlMs ? 1 - (ageMs - FRESH_MS) / (this.#ttlMs - FRESH_MS) : 0;
        isAged = true;
      }
      const slots = endpoint.concurrency >= 1 ? bounded(endpoint.concurrency, MAX_REQUESTS) : 0;
      const reported = bounded(endpoint.inFlight, MAX_REQUESTS) + bounded(endpoint.queued, MAX_REQUESTS);
      const others = Math.max(0, reported - bounded(endpoint.mineReported, MAX_REQUESTS));
      this.weight[i] = weight;
      this.slots[i] = slots;
      this.load[i] = bounded(endpoint.load, 1);
      this.serviceMs[i] =
        endpoint.serviceMs > 0 ? Math.max(MIN_SERVICE_MS, bounded(endpoint.serviceMs, MAX_SERVICE_MS)) : 0;
      this.#use[i] = slots > 0 ? others / slots : others;
    }
    return isAged;
  }

  #measure(
    i: number,
    endpoint: Endpoint,
    nowMs: number,
    usualMs: number,
    usualLoad: number,
    usualUse: number,
  ): void {
    const weight = this.weight[i] as number;
    const slots = this.slots[i] as number;
    const mine = bounded(endpoint.outstanding, MAX_REQUESTS);
    // A report that counts less knows less of mine.
    const unreported = Math.max(0, mine - weight * bounded(endpoint.mineReported, MAX_REQUESTS));
    const others = (weight * (this.#use[i] as number) + (1 - weight) * usualUse) * slots;
    const activeCallers = 1 + weight * (Math.max(1, bounded(endpoint.activeCallers, MAX_ACTIVE_CALLERS)) - 1);
    // What I have sent since the report is a sample of what all activeCallers have.
    const requests = others + mine + unreported * (activeCallers - 1);
    const load = weight * (this.load[i] as number) + (1 - weight) * usualLoad;
    const known = this.serviceMs[i] as number;
    const serviceMs = known > 0 ? steady(weight * known + (1 - weight) * usualMs, usualMs) : usualMs;
    const { routes } = endpoint.peer;
    // The one trial of a peer that was ejected is not held back by what ejected it.
    const isBlamed = endpoint.failureRate > 0 && endpoint.standing.health.state.kind === 'closed';
    const penalty = isBlamed ? 1 + FAILURE_FACTOR * failureRateAt(endpoint, nowMs) : 1;
    this.isUntried[i] = (known > 0 && weight > 0) || isBlamed ? 0 : 1;
    const route = firstRoute(routes, nowMs);
    const isDirect = route !== undefined && route.kind !== 'tunnel';
    const extraMs = isDirect || route === undefined ? 0 : bounded(route.health.extraMs, MAX_SERVICE_MS);
    this.requests[i] = requests;
    this.unreported[i] = unreported;
    this.load[i] = Math.max(load + (unreported * activeCallers) / slots, requests / slots);
    this.serviceMs[i] = serviceMs;
    this.extraMs[i] = extraMs;
    this.isDirect[i] = isDirect ? 1 : 0;
    this.expectedMs[i] =
      serviceMs * (1 + (WAIT_FACTOR * Math.max(0, requests - slots + 1)) / slots) * penalty + extraMs;
  }

  /** Of the candidates whose report counts at all; `isSaid`: 0 means that it was not said. NaN when none is left. */
  #median(column: Float64Array, isSaid: boolean): number {
    const scratch = this.#scratch;
    const step = Math.ceil(this.count / MEDIAN_SAMPLE);
    let known = 0;
    for (let i = 0; i < this.count; i += step) {
      const value = column[i] as number;
      if ((this.weight[i] as number) > 0 && (value > 0 || !isSaid)) scratch[known++] = value;
    }
    return medianInPlace(scratch, known);
  }

  #grow(count: number): void {
    const length = 2 ** Math.ceil(Math.log2(Math.max(64, count)));
    this.weight = new Float64Array(length);
    this.load = new Float64Array(length);
    this.requests = new Float64Array(length);
    this.slots = new Float64Array(length);
    this.serviceMs = new Float64Array(length);
    this.extraMs = new Float64Array(length);
    this.expectedMs = new Float64Array(length);
    this.unreported = new Float64Array(length);
    this.isDirect = new Uint8Array(length);
    this.isUntried = new Uint8Array(length);
    this.#use = new Float64Array(length);
    this.#scratch = new Float64Array(length);
  }
}

/** Small deviations from the usual are noise and must not steer. Twice as fast deviates as much as half as fast. */
function steady(serviceMs: number, usualMs: number): number {
  const size = Math.max(serviceMs / usualMs, usualMs / serviceMs) - 1;
  if (size >= FULL_BAND) return serviceMs;
  if (size <= DEAD_BAND) return usualMs;
  return usualMs + ((serviceMs - usualMs) * (size - DEAD_BAND)) / (FULL_BAND - DEAD_BAND);
}

/** 0 for NaN and below. */
function bounded(value: number, max: number): number {
  return value > 0 ? Math.min(value, max) : 0;
}
