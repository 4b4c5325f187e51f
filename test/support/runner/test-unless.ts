/**
 * A test that needs something of the machine, and what happens where that is missing.
 *
 * On a newcomer's machine it is skipped, with the reason in its name; in CI it fails, because a check that silently
 * stopped running is worse than none.
 */
import { test } from '@jest/globals';

type Register = (name: string, run: () => unknown, limitMs?: number) => void;

/** The same reason, where it may be one: in CI, where nothing may be missing, it throws. */
export function unlessInCi(reason: string | null): string | null {
  if (reason !== null && process.env.CI === 'true') {
    throw new Error(`this test must run in CI, and cannot: it ${reason}`);
  }
  return reason;
}

/**
 * `test` where there is no reason against it.
 *
 *     testUnless(missingPrograms('promtool'))('promtool takes the rules', async () => { … });
 */
export function testUnless(reason: string | null): Register {
  if (reason === null) return (name, run, limitMs) => test(name, async () => void (await run()), limitMs);
  if (process.env.CI === 'true') return (name) => test(name, () => void unlessInCi(reason));
  return (name, run) => test.skip(`${name} (skipped: it ${reason})`, async () => void (await run()));
}
