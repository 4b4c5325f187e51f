/**
 * What each candidate is worth now: its live load, its requests and slots, and the expected time there.
 *
 * From what was reported, how old that is, and what I have sent since; columns of numbers that are kept from
 * choice to choice, so that 1,000 candidates cost no allocation. Every number in them is finite, whatever a
 * peer reported. The formula and its reasons: ARCHITECTURE, "Balancing". It must not choose.
 */
import type { Candidates } from './candidates.ts';
import { type Endpoint, FRESH_MS, failureRateAt } from './endpoint.ts';
import { medianInPlace } from './median.ts';
import { firstRoute } from './route-order.ts';

/** Slots of a peer that does not say them, when no other one does. */
const ASSUMED_SLOTS = 8;
/** Service time while nobody knows one: only sets what a tunnel's extra time is compared with. */
const ASSUMED_SERVICE_MS = 100;
/** How many sidecars beside me are taken to do what I do, at most. */
const MAX_SHARERS = 4;
/** Deviations of the service time from the median that count as none, and from which on they count in full. */
const DEAD_BAND = 0.35;
const FULL_BAND = 0.7;
/** What a failure rate of 1 adds, in multiples of the service time. */
const FAILURE_FACTOR = 20;
/** Larger figures are as bad as this one. */
const MAX_REQUESTS = 1e6;
const MAX_SERVICE_MS = 1e9;

export class Measures {
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
  #scratch = new Float64Array(0);
  readonly #ttlMs: number;

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  fill(candidates: Candidates, nowMs: number): void {
    const { count, endpoints } = candidates;
    if (count > this.weight.length) this.#grow(count);
    this.count = count;
    let isAged = false;
    for (let i = 0; i < count; i += 1) {
      const weight = this.#weightOf(endpoints[i] as Endpoint, nowMs);
      this.weight[i] = weight;
      if (weight < 1) isAged = true;
    }
    const usual: Usual = { slots: ASSUMED_SLOTS, serviceMs: ASSUMED_SERVICE_MS, load: 0, use: 0 };
    usual.slots = this.#median(endpoints, slotsOf, usual) || ASSUMED_SLOTS;
    usual.serviceMs = this.#median(endpoints, serviceMsOf, usual) || ASSUMED_SERVICE_MS;
    // Only where a report is not fresh do these stand in for it.
    if (isAged) {
      usual.load = this.#median(endpoints, loadOf, usual) || 0;
      usual.use = this.#median(endpoints, useOf, usual) || 0;
    }
    for (let i = 0; i < count; i += 1) this.#measure(i, endpoints[i] as Endpoint, nowMs, usual);
  }

  #measure(i: number, endpoint: Endpoint, nowMs: number, usual: Usual): void {
    const weight = this.weight[i] as number;
    const slots = slotsOf(endpoint) || usual.slots;
    const mine = bounded(endpoint.outstanding, MAX_REQUESTS);
    // A report that counts less knows less of mine.
    const unreported = Math.max(0, mine - weight * bounded(endpoint.mineReported, MAX_REQUESTS));
    const others = weight * useOf(endpoint, usual) * slots + (1 - weight) * usual.use * slots;
    const sharers =
      1 + weight * (Math.min(MAX_SHARERS, Math.max(1, bounded(endpoint.sharers, MAX_REQUESTS))) - 1);
    // What I have sent since the report is a sample of what all sharers have.
    const requests = others + mine + unreported * (sharers - 1);
    const load = weight * loadOf(endpoint) + (1 - weight) * usual.load;
    const known = serviceMsOf(endpoint);
    const serviceMs = steady(
      known > 0 ? weight * known + (1 - weight) * usual.serviceMs : usual.serviceMs,
      usual.serviceMs,
    );
    const { health, routes } = endpoint.peer;
    // The one trial of a peer that was ejected is not held back by what ejected it.
    const failures = health.state.kind === 'closed' ? failureRateAt(endpoint, nowMs) : 0;
    const route = firstRoute(routes, nowMs);
    const extraMs =
      route === undefined || route.kind !== 'tunnel' ? 0 : bounded(route.health.extraMs, MAX_SERVICE_MS);
    this.slots[i] = slots;
    this.requests[i] = requests;
    this.unreported[i] = unreported;
    this.load[i] = Math.max(load + (unreported * sharers) / slots, requests / slots);
    this.serviceMs[i] = serviceMs;
    this.extraMs[i] = extraMs;
    this.isDirect[i] = route !== undefined && route.kind !== 'tunnel' ? 1 : 0;
    const queue = Math.max(0, requests - slots + 1) / slots;
    this.expectedMs[i] = serviceMs * (1 + queue) * (1 + FAILURE_FACTOR * failures) + extraMs;
  }

  #weightOf(endpoint: Endpoint, nowMs: number): number {
    const ageMs = nowMs - endpoint.reportedAtMs;
    if (ageMs <= FRESH_MS) return 1;
    return ageMs < this.#ttlMs ? 1 - (ageMs - FRESH_MS) / (this.#ttlMs - FRESH_MS) : 0;
  }

  /** Of the candidates whose report counts at all and says it; NaN when none does. */
  #median(endpoints: readonly Endpoint[], of: (e: Endpoint, usual: Usual) => number, usual: Usual): number {
    let known = 0;
    for (let i = 0; i < this.count; i += 1) {
      if ((this.weight[i] as number) === 0) continue;
      const value = of(endpoints[i] as Endpoint, usual);
      if (value > 0 || of === loadOf || of === useOf) this.#scratch[known++] = value;
    }
    return medianInPlace(this.#scratch, known);
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
    this.#scratch = new Float64Array(length);
  }
}

/** What is taken where a peer says nothing, or nothing recent: the medians of those that do. */
interface Usual {
  slots: number;
  serviceMs: number;
  load: number;
  /** Requests of others per slot. */
  use: number;
}

/** 0 = not said. */
function slotsOf(endpoint: Endpoint): number {
  return bounded(endpoint.concurrency, MAX_REQUESTS);
}

/** 0 = not said. */
function serviceMsOf(endpoint: Endpoint): number {
  return bounded(endpoint.serviceMs, MAX_SERVICE_MS);
}

function loadOf(endpoint: Endpoint): number {
  return bounded(endpoint.load, 1);
}

/** Requests of others per slot, as reported. A peer without a limit says by its load how full it is. */
function useOf(endpoint: Endpoint, usual: Usual): number {
  const slots = slotsOf(endpoint);
  const reported = bounded(endpoint.inFlight, MAX_REQUESTS) + bounded(endpoint.queued, MAX_REQUESTS);
  const others = Math.max(0, reported - bounded(endpoint.mineReported, MAX_REQUESTS));
  return slots > 0 ? others / slots : Math.max(others / usual.slots, loadOf(endpoint));
}

/** Small deviations from the usual are noise and must not steer. */
function steady(serviceMs: number, usualMs: number): number {
  const deviation = serviceMs / usualMs - 1;
  const part = (Math.abs(deviation) - DEAD_BAND) / (FULL_BAND - DEAD_BAND);
  return usualMs * (1 + deviation * Math.min(1, Math.max(0, part)));
}

/** 0 for NaN and below. */
function bounded(value: number, max: number): number {
  return value > 0 ? Math.min(value, max) : 0;
}
