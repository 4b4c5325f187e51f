/**
 * What `expect` does not say by itself: which of many was expected, or why.
 *
 * Owns the words around an expectation, never what is expected.
 */
import { expect } from '@jest/globals';

type Matchers = ReturnType<typeof expect<unknown>>;

/** Puts the message first, and lets the failure point at whoever called `caller` and not in here. */
function explain(
  fault: unknown,
  message: string | undefined,
  caller: (...args: never[]) => unknown,
): unknown {
  if (!(fault instanceof Error)) return fault;
  if (message !== undefined) fault.message = `${message}\n\n${fault.message}`;
  Error.captureStackTrace(fault, caller);
  return fault;
}

function named<T extends object>(message: string | undefined, matchers: T): T {
  return new Proxy(matchers, {
    get(target, key) {
      const matcher: unknown = Reflect.get(target, key);
      // `not`, `resolves` and `rejects` are matchers again.
      if (typeof matcher === 'object' && matcher !== null) return named(message, matcher);
      if (typeof matcher !== 'function') return matcher;
      return function explained(...args: unknown[]): unknown {
        try {
          const result: unknown = Reflect.apply(matcher, target, args);
          if (!(result instanceof Promise)) return result;
          return result.catch((fault: unknown) => Promise.reject(explain(fault, message, explained)));
        } catch (fault) {
          throw explain(fault, message, explained);
        }
      };
    },
  });
}

/** `expect(actual)` whose failure begins with a message: which case of many it was, or the reason. */
export function expectNamed(actual: unknown, message: string | undefined): Matchers {
  return named(message, expect(actual));
}

/** Expects it to hold, and lets the compiler know that it does from here on. */
export function mustHold(condition: unknown, message?: string): asserts condition {
  try {
    expect(condition).toBeTruthy();
  } catch (fault) {
    throw explain(fault, message, mustHold);
  }
}

/** For what may not come to pass. */
export function fail(message = 'this may not happen'): never {
  throw new Error(message);
}

/** What it throws; a fault of its own when it throws nothing. */
export function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (fault) {
    return fault;
  }
  return fail('nothing was thrown');
}
