/**
 * The demands of one run: who asks when for how much work, drawn once and given to every policy and proxy alike.
 *
 * Open loop: arrivals do not wait for responses, as users do not wait for each other; a slow system is not given less
 * to do. It must not know who serves them.
 */
import { Random } from './random.ts';

export interface Demand {
  readonly atMs: number;
  /** The entry (app, balancer) that it comes to. */
  readonly entry: number;
  /** What a slot of speed 1 takes for it. */
  readonly workMs: number;
  /** One of the cheap calls (GET) between dear ones (POST), where there are such. */
  readonly isCheap?: boolean;
}

export interface WorkerSpec {
  readonly slots: number;
  /** Work done in a slot in a unit of time. */
  readonly speed: number;
  /** Spells in which its speed is multiplied. */
  readonly slowed?: readonly { readonly fromMs: number; readonly toMs: number; readonly factor: number }[];
  readonly broken?: Broken;
}

/** `refuses` connections, `hangs` without a response, or answers with an `error` at once. */
export interface Broken {
  readonly how: 'refuses' | 'hangs' | 'error';
  readonly fromMs: number;
  readonly toMs: number;
}

export interface DemandOptions {
  readonly seed: number;
  readonly requests: number;
  readonly entries: number;
  readonly workers: readonly WorkerSpec[];
  /** Share of all slots, each at its speed, that is busy on the average. */
  readonly utilisation: number;
  readonly meanWorkMs: number;
  /** Of the logarithm of the work. */
  readonly sigma: number;
  readonly maxWorkMs: number;
  /** Times at which the rate is multiplied. */
  readonly rate?: (atMs: number) => number;
  /** Some entries ask more than others, by Zipf's law with this exponent. */
  readonly zipf?: number;
  /** So many of the requests, 0..1, are cheap calls of so much work. */
  readonly cheap?: { readonly share: number; readonly workMs: number };
}

export function speedAt({ speed, slowed = [] }: WorkerSpec, atMs: number): number {
  const spell = slowed.find(({ fromMs, toMs }) => atMs >= fromMs && atMs < toMs);
  return spell === undefined ? speed : speed * spell.factor;
}

/** Work per unit of time that all workers do when each slot is busy. */
function capacity(workers: readonly WorkerSpec[]): number {
  return workers.reduce((sum, { slots, speed }) => sum + slots * speed, 0);
}

/** Poisson arrivals of log-normal work, scaled to the utilisation that is asked for exactly. */
export function drawDemands(options: DemandOptions): Demand[] {
  const { requests, entries, workers, utilisation, meanWorkMs, sigma, maxWorkMs } = options;
  const { rate = () => 1, zipf = 0, cheap } = options;
  const random = new Random(options.seed);
  const shares = cumulativeShares(entries, zipf);
  const isCheap = Array.from({ length: requests }, () => cheap !== undefined && random.next() < cheap.share);
  const works = isCheap.map((cheaply) =>
    cheaply ? (cheap?.workMs ?? 0) : random.logNormal(meanWorkMs, sigma, maxWorkMs),
  );
  // Cut off and drawn, the mean is another one than was asked for.
  const drawnMeanMs = works.reduce((sum, work) => sum + work, 0) / requests;
  const meanGapMs = drawnMeanMs / (utilisation * capacity(workers));
  let atMs = 0;
  return works.map((workMs, i) => {
    atMs += random.exponential(meanGapMs) / rate(atMs);
    const drawn = random.next();
    const entry = shares.findIndex((share) => drawn < share);
    return cheap === undefined
      ? { atMs, workMs, entry }
      : { atMs, workMs, entry, isCheap: isCheap[i] === true };
  });
}

function cumulativeShares(entries: number, zipf: number): number[] {
  const weights = Array.from({ length: entries }, (_, i) => (i + 1) ** -zipf);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  return weights.map((weight, i) => {
    sum += weight / total;
    return i === entries - 1 ? 1 : sum;
  });
}
