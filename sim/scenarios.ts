/**
 * The scenarios of the simulator: who serves, who asks, what goes wrong. One table, each row with its reason.
 *
 * After those by which the policy was designed. It must not know policies.
 */
import { balanceScenarios } from '../bench/balance/scenarios.ts';
import type { DemandOptions, WorkerSpec } from './demand.ts';

export interface Scenario extends Omit<DemandOptions, 'seed'> {
  readonly name: string;
  readonly about: string;
  /** One way. */
  readonly networkMs: number;
  /** How many workers an entry knows; all by default. */
  readonly view?: number;
}

export interface Scale {
  readonly utilisation: number;
  readonly requests: number;
  /** Entries of the scenarios of bench:balance. */
  readonly entries?: number;
}

/** A thousand workers have to be learnt first: each sees a thousandth of the requests. */
const LARGE_FACTOR = 5;

function even(count: number, slots: number, speed = 1): WorkerSpec[] {
  return Array.from({ length: count }, () => ({ slots, speed }));
}

/** Speeds 1, 2, 4 and slots 1 to 16 in all mixtures. */
function uneven(count: number, slots: readonly number[]): WorkerSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    speed: [1, 2, 4][i % 3] as number,
    slots: slots[Math.floor(i / 3) % slots.length] as number,
  }));
}

const MICRO = { meanWorkMs: 10, sigma: 1, maxWorkMs: 100, networkMs: 0.2 } as const;

/** Requests of a language model: seconds, up to 20 s at speed 1. */
const GPU = { meanWorkMs: 3_500, sigma: 1.2, maxWorkMs: 20_000, networkMs: 0.5 } as const;

export function scenarios({ utilisation, requests, entries = 4 }: Scale): Scenario[] {
  const common = { utilisation, requests };
  const lastMs = (scenario: { meanWorkMs: number }, capacity: number): number =>
    (requests * scenario.meanWorkMs) / (utilisation * capacity);
  const micro = { ...common, ...MICRO, entries: 16, workers: even(16, 4) };
  const endMs = lastMs(MICRO, 64);
  const ill = (how: 'refuses' | 'hangs' | 'error'): WorkerSpec[] => [
    { slots: 4, speed: 1, broken: { how, fromMs: 0.3 * endMs, toMs: 0.7 * endMs } },
    ...even(15, 4),
  ];
  const spells = (phase: number): NonNullable<WorkerSpec['slowed']> =>
    Array.from({ length: Math.ceil(endMs / 5_000) }, (_, i) => ({
      fromMs: i * 5_000 + phase,
      toMs: i * 5_000 + phase + 500,
      factor: 0.2,
    }));
  return [
    { name: 'micro', about: '16 entries, 16 equal workers of 4 slots, 10 ms', ...micro },
    {
      name: 'gpuhet',
      about: '12 entries, 12 workers of speed 1/2/4 and 1-16 slots, 3.5 s',
      ...common,
      ...GPU,
      entries: 12,
      workers: uneven(12, [1, 4, 8, 16]),
    },
    {
      name: 'three',
      about: '3 entries, 3 uneven workers',
      ...common,
      ...GPU,
      entries: 3,
      workers: uneven(3, [4]),
    },
    {
      name: 'hetmicro',
      about: '16 entries, 16 workers of speed 1/2/4 and 2-8 slots, 10 ms',
      ...common,
      ...MICRO,
      entries: 16,
      workers: uneven(16, [2, 4, 8]),
    },
    { name: 'zipf', about: 'micro, a few entries ask most', ...micro, zipf: 1 },
    {
      name: 'antag',
      about: 'micro, a quarter of the workers at a fifth of their speed for 0.5 s in each 5',
      ...micro,
      workers: even(16, 4).map((spec, i) => (i % 4 === 0 ? { ...spec, slowed: spells(i * 1_000) } : spec)),
    },
    {
      name: 'refuses',
      about: 'micro, a worker refuses connections for 40 % of the time',
      ...micro,
      workers: ill('refuses'),
    },
    { name: 'hangs', about: 'the same, it hangs', ...micro, workers: ill('hangs') },
    { name: 'errors', about: 'the same, it answers with errors at once', ...micro, workers: ill('error') },
    {
      name: 'single',
      about: 'one entry, 12 uneven workers, 100 ms',
      ...common,
      meanWorkMs: 100,
      sigma: 1,
      maxWorkMs: 1_000,
      networkMs: 0.2,
      entries: 1,
      workers: uneven(12, [2, 4, 8]),
    },
    {
      name: 'burst',
      about: 'micro, twice the rate for 0.5 s in each 2',
      ...micro,
      utilisation: utilisation * 0.8,
      rate: (atMs) => (atMs % 2_000 < 500 ? 2 : 2 / 3),
    },
    {
      ...recovering({ utilisation, requests }),
      name: 'recovers',
      about: 'uneven workers of bench:balance, the strongest at a tenth of its speed for a fifth of the time',
    },
    ...proved({ utilisation, requests, entries }),
    {
      name: 'hundred',
      about: '20 entries, 100 uneven and slow workers, each entry knows 32',
      ...common,
      ...GPU,
      entries: 20,
      workers: uneven(100, [1, 4, 8, 16]),
      view: 32,
    },
    {
      name: 'large',
      about: '1,000 entries, 1,000 workers, each entry knows 32',
      ...common,
      ...MICRO,
      requests: LARGE_FACTOR * requests,
      entries: 1_000,
      workers: even(1_000, 4),
      view: 32,
    },
    {
      name: 'largegpu',
      about: 'the same, uneven and slow',
      ...common,
      ...GPU,
      requests: LARGE_FACTOR * requests,
      entries: 1_000,
      workers: uneven(1_000, [1, 4, 8, 16]),
      view: 32,
    },
  ];
}

const PROVED = { meanWorkMs: 400, networkMs: 0.3 } as const;

/** The scenarios that bench:balance runs with processes, for so many requests. */
function proved({ utilisation, requests, entries }: Required<Scale>): Scenario[] {
  const { meanWorkMs, networkMs } = PROVED;
  return balanceScenarios({ utilisation, seconds: 1, meanWorkMs }).flatMap(({ name, requests: perSecond }) =>
    balanceScenarios({ utilisation, seconds: requests / perSecond, meanWorkMs })
      .filter((scenario) => scenario.name === name)
      .map((scenario) => ({ ...scenario, entries, networkMs, name: `bench-${name}` })),
  );
}

function recovering({ utilisation, requests }: Scale): Scenario {
  const [uneven] = proved({ utilisation, requests, entries: 4 }) as [Scenario];
  const capacity = (workers: readonly WorkerSpec[]): number =>
    workers.reduce((sum, { slots, speed }) => sum + slots * speed, 0);
  const endMs = (requests * PROVED.meanWorkMs) / (utilisation * capacity(uneven.workers));
  const slowed = [{ fromMs: 0.2 * endMs, toMs: 0.4 * endMs, factor: 0.1 }];
  const strongest = uneven.workers.reduce((a, b) => (capacity([b]) > capacity([a]) ? b : a));
  return { ...uneven, workers: uneven.workers.map((w) => (w === strongest ? { ...w, slowed } : w)) };
}
