/**
 * From samples to rows: medians over the rounds, and ratios to others.
 *
 * A ratio is the median of the ratios within each round, for the two were measured within seconds of each other: what
 * a shared machine does to one it does to the other. So it need not be the ratio of the two medians.
 */
import type { Ratio } from './cases.ts';
import type { FigureName, Sample } from './figures.ts';
import type { Hops, SystemName } from './systems.ts';

/** The samples of one system in one case, one per round. */
export interface Row {
  readonly caseName: string;
  readonly name: SystemName;
  readonly hops: Hops;
  readonly part: string;
  readonly samples: readonly Sample[];
}

/** What a row is asked by: a median, or with `to` a ratio. */
export interface Reading {
  readonly caseName: string;
  readonly hops: Hops;
  readonly part: string;
  readonly figure: FigureName;
  readonly to: SystemName | null;
}

export class Summary {
  readonly #samples: Sample[] = [];

  add(sample: Sample): void {
    this.#samples.push(sample);
  }

  get samples(): readonly Sample[] {
    return this.#samples;
  }

  rowsOf(caseName: string): Row[] {
    const rows = new Map<string, Row & { samples: Sample[] }>();
    for (const sample of this.#samples) {
      if (sample.caseName !== caseName) continue;
      const { name, hops, part } = sample;
      const key = `${hops} ${name} ${part}`;
      const row = rows.get(key) ?? { caseName, name, hops, part, samples: [] };
      row.samples.push(sample);
      rows.set(key, row);
    }
    return [...rows.values()].toSorted((a, b) => a.hops - b.hops);
  }

  median(row: Row, figure: FigureName): number | undefined {
    return medianOf(row.samples.map(({ figures }) => figures[figure]));
  }

  ratio(row: Row, { figure, to }: Ratio): number | undefined {
    const other = this.rowsOf(row.caseName).find(
      ({ name, hops, part }) => name === to && hops === row.hops && part === row.part,
    );
    if (other === undefined) return undefined;
    return medianOf(
      row.samples.map(({ round, figures }) => {
        const ours = figures[figure];
        const theirs = other.samples.find((sample) => sample.round === round)?.figures[figure];
        return ours === undefined || theirs === undefined ? undefined : ours / theirs;
      }),
    );
  }

  /** Of our own system; undefined if it was not measured. */
  read({ caseName, hops, part, figure, to }: Reading): number | undefined {
    const row = this.rowsOf(caseName).find(
      (one) => one.name === 'sidecar' && one.hops === hops && one.part === part,
    );
    if (row === undefined) return undefined;
    return to === null ? this.median(row, figure) : this.ratio(row, { figure, to });
  }
}

/** Of those that are there. */
function medianOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value): value is number => value !== undefined && Number.isFinite(value));
  const sorted = known.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) return undefined;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}
