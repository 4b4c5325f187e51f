/**
 * The environment of a test file while mutants are judged: it switches one on, or notes what each test reaches.
 *
 * Of each file only those tests run that the plan names. With a mutant on, the first failing test ends the process:
 * more is not to be learnt.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import SidecarEnvironment from '../../test/support/runner/test-environment.mjs';

const PLAN = JSON.parse(readFileSync(process.env.MUTATE_PLAN, 'utf8'));

const nameOf = (test) => {
  const names = [test.name];
  for (let at = test.parent; at.parent !== undefined; at = at.parent) names.unshift(at.name);
  return names.join(' › ');
};

const testsIn = (block) =>
  block.children.flatMap((child) => (child.type === 'test' ? [child] : testsIn(child)));

/** Each mutant that was reached, and how often. */
const hitsIn = (counts) => [...counts.entries()].filter(([, count]) => count > 0);

export default class MutationEnvironment extends SidecarEnvironment {
  #file;
  #beganMs = performance.now();
  #testBeganMs = 0;
  #tests = [];
  /** Reached by no test in particular: as the file was loaded, or by what its tests share. */
  #shared = new Uint32Array(PLAN.mutants);
  #counts = this.#shared;

  constructor(config, context) {
    super(config, context);
    this.#file = relative(config.projectConfig.rootDir, context.testPath);
    this.global.mutation = PLAN.active === null ? this.#measure() : this.#activate();
  }

  #measure() {
    const cover = (...ids) => {
      for (let i = 0; i < ids.length; i += 1) this.#counts[ids[i]] += 1;
    };
    return { active: -1, hit: () => true, cover };
  }

  /** A loop that ends no more is ended here. */
  #activate() {
    let hits = 0;
    const hit = () => {
      hits += 1;
      if (hits > PLAN.hitLimit)
        throw new Error('the mutant was reached far more often than what it replaces');
      return true;
    };
    return { active: PLAN.active, hit };
  }

  handleTestEvent(event, state) {
    super.handleTestEvent(event);
    if (event.name === 'run_start') this.#select(testsIn(state.rootDescribeBlock));
    if (event.name === 'test_start') this.#begin();
    if (event.name === 'test_done') this.#end(event.test);
  }

  #select(tests) {
    const limits = PLAN.files[this.#file];
    if (limits === null) return;
    for (const test of tests) {
      const limitMs = limits[nameOf(test)];
      if (limitMs === undefined) test.mode = 'skip';
      else test.timeout = limitMs;
    }
  }

  #begin() {
    this.#testBeganMs = performance.now();
    if (PLAN.active === null) this.#counts = new Uint32Array(PLAN.mutants);
  }

  #end(test) {
    const hasFailed = test.errors.length > 0;
    if (hasFailed && PLAN.active !== null) {
      this.#tell('failed.json', { file: this.#file, name: nameOf(test) });
      process.exit(1);
    }
    const ms = Math.round(performance.now() - this.#testBeganMs);
    this.#tests.push({
      name: nameOf(test),
      ms,
      hasFailed,
      hits: PLAN.active === null ? hitsIn(this.#counts) : [],
    });
    this.#counts = this.#shared;
  }

  async teardown() {
    if (PLAN.active === null) {
      const ms = Math.round(performance.now() - this.#beganMs);
      const told = { ms, tests: this.#tests, shared: hitsIn(this.#shared) };
      this.#tell(`${this.#file.replaceAll('/', '-')}.json`, told);
    }
    await super.teardown();
  }

  #tell(name, told) {
    writeFileSync(join(PLAN.out, name), JSON.stringify(told));
  }
}
