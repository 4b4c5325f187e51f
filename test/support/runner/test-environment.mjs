/**
 * Node as jest's own environment gives it, with two things that it lacks.
 *
 * A test file has built-in classes of its own, and what Node itself throws is of others: here it is an `Error` all the
 * same, as where the program runs. And what a test has started can ask whether the test has failed, to show its log
 * only then.
 */
import { TestEnvironment } from 'jest-environment-node';

const ERRORS = ['Error', 'TypeError', 'RangeError', 'SyntaxError'];

export default class SidecarEnvironment extends TestEnvironment {
  constructor(...args) {
    super(...args);
    for (const name of ERRORS) {
      const [inner, outer] = [this.global[name], globalThis[name]];
      Object.defineProperty(inner, Symbol.hasInstance, {
        value(error) {
          const isOwn = Function.prototype[Symbol.hasInstance].call(this, error);
          return isOwn || (this === inner && error instanceof outer);
        },
      });
    }
  }

  handleTestEvent({ name }) {
    if (name === 'test_start') this.global.hasTestFailed = false;
    if (name === 'test_fn_failure') this.global.hasTestFailed = true;
  }
}
