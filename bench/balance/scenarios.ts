/**
 * The scenarios of bench:balance: which sleeping workers, which arrivals, what goes wrong half-way.
 *
 * It must not know proxies.
 */
import type { DemandOptions, WorkerSpec } from '../../sim/demand.ts';

export type Mishap =
  | { readonly kind: 'slowed'; readonly worker: number; readonly factor: number }
  | { readonly kind: 'dies'; readonly worker: number };

export interface BalanceScenario extends Omit<DemandOptions, 'seed'> {
  readonly name: string;
  readonly about: string;
  /** At the half of the arrivals' time. */
  readonly mishap: Mishap | null;
  /** Slots as each worker is said to have, where that is not what it has. */
  readonly toldSlots?: readonly number[];
  /** By worker: whether it answers 429 at once to what it has no slot for, in place of having it wait. */
  readonly refusing?: readonly boolean[];
}

export interface BalanceScale {
  readonly utilisation: number;
  readonly seconds: number;
  readonly meanWorkMs: number;
}

export const ENTRIES = 4;

/** Of the logarithm of the work: one request in a hundred is 6.2 times the mean. */
const SIGMA = 1;
const MAX_WORK_FACTOR = 20;

const EVEN: readonly WorkerSpec[] = Array.from({ length: 6 }, () => ({ speed: 2, slots: 4 }));
const UNEVEN: readonly WorkerSpec[] = [
  { speed: 1, slots: 2 },
  { speed: 1, slots: 8 },
  { speed: 2, slots: 4 },
  { speed: 2, slots: 4 },
  { speed: 4, slots: 8 },
  { speed: 4, slots: 2 },
];
const THREE: readonly WorkerSpec[] = [
  { speed: 1, slots: 4 },
  { speed: 2, slots: 8 },
  { speed: 4, slots: 2 },
];
/** Four workers that are said to be equal: one refuses all, one serves one at a time and refuses the rest. */
const REFUSING: readonly WorkerSpec[] = [
  { speed: 2, slots: 0 },
  { speed: 2, slots: 1 },
  { speed: 2, slots: 4 },
  { speed: 2, slots: 4 },
];

/** Between dear requests. */
const CHEAP = { share: 0.8, workMs: 2 } as const;

/** The one that has the mishap: an eighth of the whole. */
const UNLUCKY = 2;

/** The first only when everybody knows the workers: before, it would measure that nobody can know them yet. */
const BURST = { everyMs: 20_000, firstMs: 10_000, forMs: 1_000, factor: 10 } as const;

export function balanceScenarios(scale: BalanceScale): BalanceScenario[] {
  const { utilisation, seconds, meanWorkMs } = scale;
  const halfMs = seconds * 500;
  const made = (
    name: string,
    about: string,
    workers: readonly WorkerSpec[],
    more: Partial<BalanceScenario> = {},
  ): BalanceScenario => {
    const perSecond =
      (utilisation * workers.reduce((sum, w) => sum + w.slots * w.speed, 0) * 1000) / meanWorkMs;
    return {
      name,
      about,
      workers,
      entries: ENTRIES,
      requests: Math.round((perSecond * seconds) / (1 - (more.cheap?.share ?? 0))),
      utilisation,
      meanWorkMs,
      sigma: SIGMA,
      maxWorkMs: meanWorkMs * MAX_WORK_FACTOR,
      mishap: null,
      ...more,
    };
  };
  const changed = (change: Partial<WorkerSpec>): WorkerSpec[] =>
    UNEVEN.map((spec, i) => (i === UNLUCKY ? { ...spec, ...change } : spec));
  const forEver = { fromMs: halfMs, toMs: Number.POSITIVE_INFINITY };
  const calm = BURST.everyMs / (BURST.everyMs + (BURST.factor - 1) * BURST.forMs);
  return [
    made('uneven', 'speeds 1/2/4, slots 2/4/8', UNEVEN),
    made('even', 'six equal workers of 4 slots', EVEN),
    made(
      'slowed',
      'uneven, one slowed to a tenth half-way',
      changed({ slowed: [{ ...forEver, factor: 0.1 }] }),
      {
        mishap: { kind: 'slowed', worker: UNLUCKY, factor: 0.1 },
      },
    ),
    made('dies', 'uneven, one dies half-way', changed({ broken: { how: 'refuses', ...forEver } }), {
      mishap: { kind: 'dies', worker: UNLUCKY },
    }),
    made('burst', 'uneven, ten times the rate for 1 s in each 20 s', UNEVEN, {
      rate: (atMs) =>
        (atMs + BURST.everyMs - BURST.firstMs) % BURST.everyMs < BURST.forMs ? BURST.factor * calm : calm,
    }),
    made('three', 'three uneven workers', THREE),
    made('refuses', 'one of four answers 429 at once, one beyond one at a time', REFUSING, {
      toldSlots: REFUSING.map(() => 4),
      refusing: [true, true, false, false],
    }),
    made('mixed', 'even, four GETs of 2 ms beside each POST, of which the figures are', EVEN, {
      cheap: CHEAP,
    }),
  ];
}
