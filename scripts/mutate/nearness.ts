/**
 * How near a test file is to a mutant: which of many are asked first, and of integration tests at all.
 *
 * By imports all tests of whole sidecars are equally far. So words of the test's name that stand around the mutant
 * count, and that it reaches mutants beside this one which few others reach: such a test knows of the rare case.
 */
import { basename } from 'node:path';
import type { ImportGraph } from './import-graph.ts';
import type { Mutant } from './mutants.ts';
import type { Reach } from './reach.ts';

/** Of two mutants that are beside each other. */
const MAX_LINES_APART = 6;

/** A test whose name alone shares a word is nearer by so many imports. */
const LIKENESS_STEPS = 3;

/** `isLastRoute`, `proxy-routes` → is, last, route, proxy. */
function wordsOf(text: string): ReadonlySet<string> {
  const words = text.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return new Set((words.match(/[a-z]+/g) ?? []).map((word) => word.replace(/s$/, '')));
}

export class Nearness {
  readonly #graph: ImportGraph;
  readonly #mutants: readonly Mutant[];
  /** Test file → the words of its name. */
  readonly #namesOf: ReadonlyMap<string, ReadonlySet<string>>;
  /** Test file → the mutants that it reaches. */
  readonly #idsOf: ReadonlyMap<string, ReadonlySet<number>>;
  /** Mutant → how many test files reach it. */
  readonly #filesAt = new Map<number, number>();

  constructor(graph: ImportGraph, mutants: readonly Mutant[], reach: Reach) {
    this.#graph = graph;
    this.#mutants = mutants;
    this.#namesOf = new Map([...reach.keys()].map((file) => [file, wordsOf(basename(file, '.test.ts'))]));
    this.#idsOf = new Map(
      [...reach].map(([file, { shared, tests }]) => {
        const hits = [...shared, ...tests.flatMap((test) => test.hits)];
        return [file, new Set(hits.map(([id]) => id))];
      }),
    );
    for (const ids of this.#idsOf.values())
      for (const id of ids) this.#filesAt.set(id, (this.#filesAt.get(id) ?? 0) + 1);
  }

  /** Test file → a number that is smaller for a nearer one; of those that import the mutated file. */
  of(mutant: Mutant): ReadonlyMap<string, number> {
    const about = wordsOf(`${basename(mutant.file)} ${mutant.around}`);
    const beside = this.#mutants.filter(
      ({ file, line }) => file === mutant.file && Math.abs(line - mutant.line) <= MAX_LINES_APART,
    );
    const nearness = new Map<string, number>();
    for (const file of this.#idsOf.keys()) {
      const steps = this.#graph.distances(file).get(mutant.file);
      if (steps === undefined) continue;
      const likeness = this.#likeness(file, about) + this.#rareness(file, beside);
      nearness.set(file, steps - LIKENESS_STEPS * likeness);
    }
    return nearness;
  }

  /** 1 for each word that its name alone shares with the text, less for one of many. */
  #likeness(file: string, about: ReadonlySet<string>): number {
    const shared = [...(this.#namesOf.get(file) ?? [])].filter((word) => about.has(word));
    const names = [...this.#namesOf.values()];
    return shared.reduce((sum, word) => sum + 1 / names.filter((name) => name.has(word)).length, 0);
  }

  /** 1 for each mutant that this file alone reaches, less for one that many do. */
  #rareness(file: string, beside: readonly Mutant[]): number {
    const reached = beside.filter(({ id }) => this.#idsOf.get(file)?.has(id));
    return reached.reduce((sum, { id }) => sum + 1 / (this.#filesAt.get(id) as number), 0);
  }
}
