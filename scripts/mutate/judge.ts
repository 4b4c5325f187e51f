/**
 * Whether a test notices a mutant.
 *
 * Those that reach it are asked in order of nearness: unit and property tests in one process, then each integration
 * file in its own, until one fails. One of these that fails without the mutant too has said nothing.
 */
import type { Mutant } from './mutants.ts';
import type { Nearness } from './nearness.ts';
import type { MeasuredFile, Reach } from './reach.ts';
import { type Failure, type Outcome, runJest } from './run-jest.ts';

export type Verdict =
  | { readonly kind: 'caught'; readonly by: Failure | 'time limit' }
  | { readonly kind: 'survived'; readonly reachedBy: number };

/** What is asked of one test file. */
interface Question {
  readonly file: string;
  readonly limitsMs: Readonly<Record<string, number>>;
  readonly ms: number;
  readonly hits: number;
  readonly nearness: number;
}

/** The nearest that reach it: those of loopback take seconds, and most of them reach most of the request path. */
const MAX_INTEGRATION_FILES = 8;

/** Others may use the machine as well. */
const testLimitMs = (ms: number): number => 3 * ms + 8_000;
const runLimitMs = (ms: number): number => 3 * ms + 40_000;

const isIntegration = ({ file }: { readonly file: string }): boolean => file.startsWith('test/integration/');

export class Judge {
  readonly #tree: string;
  readonly #count: number;
  readonly #reach: Reach;
  readonly #nearness: Nearness;
  readonly #lastCatch: Map<string, Failure>;
  /** Test → whether it passes alone and with no mutant. */
  readonly #isSound = new Map<string, Promise<boolean>>();

  constructor(
    tree: string,
    count: number,
    reach: Reach,
    nearness: Nearness,
    lastCatch: Map<string, Failure>,
  ) {
    this.#tree = tree;
    this.#count = count;
    this.#reach = reach;
    this.#nearness = nearness;
    this.#lastCatch = lastCatch;
  }

  async judge(mutant: Mutant): Promise<Verdict> {
    const questions = this.#questions(mutant);
    for (const group of [...this.#again(mutant, questions), ...groupsOf(questions)]) {
      const by = await this.#ask(mutant, group);
      if (by === null) continue;
      if (by !== 'time limit') this.#lastCatch.set(mutant.key, by);
      return { kind: 'caught', by };
    }
    const reachedBy = questions.reduce((sum, { limitsMs }) => sum + Object.keys(limitsMs).length, 0);
    return { kind: 'survived', reachedBy };
  }

  /** The tests that reach it, the nearest first. */
  #questions(mutant: Mutant): Question[] {
    const questions: Question[] = [];
    for (const [file, nearness] of this.#nearness.of(mutant)) {
      const question = questionFor(mutant, file, this.#reach.get(file) as MeasuredFile, nearness);
      if (question !== null) questions.push(question);
    }
    return questions.sort((a, b) => a.nearness - b.nearness || a.ms - b.ms);
  }

  /** The one test that caught it last time. */
  #again(mutant: Mutant, questions: readonly Question[]): Question[][] {
    const last = this.#lastCatch.get(mutant.key);
    const question = questions.find(({ file }) => file === last?.file);
    const limitMs = question?.limitsMs[last?.name ?? ''];
    if (last?.name == null || question === undefined || limitMs === undefined) return [];
    return [[{ ...question, limitsMs: { [last.name]: limitMs } }]];
  }

  async #ask(mutant: Mutant, group: readonly Question[]): Promise<Failure | 'time limit' | null> {
    for (let left = group; left.length > 0; ) {
      const { hasPassed, isLate, failure } = await this.#run(mutant.id, left);
      if (hasPassed) return null;
      if (isLate) return 'time limit';
      if (failure === null) throw new Error(`jest failed without a word on ${mutant.file}:${mutant.line}`);
      if (!isIntegration(failure) || (await this.#isSoundAlone(failure, left))) return failure;
      left = left.map((question) => without(question, failure)).filter((question) => question !== null);
    }
    return null;
  }

  #isSoundAlone(failure: Failure, group: readonly Question[]): Promise<boolean> {
    const id = `${failure.file}\0${failure.name}`;
    const known = this.#isSound.get(id);
    if (known !== undefined) return known;
    const questions = group.flatMap((question) => {
      if (question.file !== failure.file) return [];
      const { name } = failure;
      return [
        name === null ? question : { ...question, limitsMs: { [name]: question.limitsMs[name] as number } },
      ];
    });
    const asked = this.#run(-1, questions).then(({ hasPassed }) => hasPassed);
    this.#isSound.set(id, asked);
    return asked;
  }

  async #run(active: number, questions: readonly Question[]): Promise<Outcome> {
    const files = Object.fromEntries(questions.map(({ file, limitsMs }) => [file, limitsMs]));
    const sum = (pick: (question: Question) => number): number =>
      questions.reduce((all, one) => all + pick(one), 0);
    const hitLimit = 10_000 + 100 * sum(({ hits }) => hits);
    const plan = { active, mutants: this.#count, hitLimit, files };
    const outcome = await runJest(this.#tree, plan, runLimitMs(sum(({ ms }) => ms)));
    outcome.end();
    return outcome;
  }
}

/** In a file that reaches it by no test in particular, any may notice. */
function questionFor(
  mutant: Mutant,
  file: string,
  measured: MeasuredFile,
  nearness: number,
): Question | null {
  if (measured.isBroken) return null;
  const hitsIn = (hits: MeasuredFile['shared']): number => hits.find(([id]) => id === mutant.id)?.[1] ?? 0;
  const shared = hitsIn(measured.shared);
  const tests = measured.tests
    .filter(({ hasFailed }) => !hasFailed)
    .map((test) => ({ ...test, count: hitsIn(test.hits) }))
    .filter(({ count }) => shared > 0 || count > 0);
  if (tests.length === 0) return null;
  return {
    file,
    limitsMs: Object.fromEntries(tests.map(({ name, ms }) => [name, testLimitMs(ms)])),
    ms: tests.reduce((sum, { ms }) => sum + ms, 0),
    hits: tests.reduce((sum, { count }) => sum + count, shared),
    nearness,
  };
}

function groupsOf(questions: readonly Question[]): Question[][] {
  const integration = questions.filter(isIntegration).slice(0, MAX_INTEGRATION_FILES);
  return [
    questions.filter((question) => !isIntegration(question)),
    ...integration.map((question) => [question]),
  ];
}

function without(question: Question, { file, name }: Failure): Question | null {
  if (question.file !== file) return question;
  const limitsMs = Object.fromEntries(Object.entries(question.limitsMs).filter(([test]) => test !== name));
  return name === null || Object.keys(limitsMs).length === 0 ? null : { ...question, limitsMs };
}
