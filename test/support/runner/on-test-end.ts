/**
 * What a test starts ends with it: whoever starts something says here how it ends.
 *
 * The last that was started ends first, each is waited for, and each has its turn whatever became of the others; what
 * they throw fails the test. Where no test runs, it is the file at whose end they come.
 */
import { afterAll, afterEach, beforeAll, beforeEach } from '@jest/globals';

type End = () => unknown;

/** From the outermost: those of the file, of what the tests of a `describe` share while that starts, of the test. */
const scopes: End[][] = [[]];

export function onTestEnd(end: End): void {
  scopes.at(-1)?.push(end);
}

async function endAll(ends: End[]): Promise<void> {
  const faults: unknown[] = [];
  for (let end = ends.pop(); end !== undefined; end = ends.pop()) {
    try {
      await end();
    } catch (fault) {
      faults.push(fault);
    }
  }
  if (faults.length === 1) throw faults[0];
  if (faults.length > 1) throw new AggregateError(faults, faults.map(String).join('\n'));
}

/** Once in each file, before its tests. */
export function endWithTests(): void {
  beforeEach(() => void scopes.push([]));
  afterEach(() => endAll(scopes.pop() ?? []));
  afterAll(() => endAll(scopes[0] ?? []));
}

/** What the tests of one `describe` share: begun before the first of them, ended after the last. */
export function sharedByTests<T>(start: () => T | Promise<T>): () => T {
  const ends: End[] = [];
  let shared: { readonly value: T } | null = null;
  beforeAll(async () => {
    scopes.push(ends);
    try {
      shared = { value: await start() };
    } finally {
      scopes.pop();
    }
  });
  afterAll(() => endAll(ends));
  return () => {
    if (shared === null) throw new Error('shared things are there while tests run, not before');
    return shared.value;
  };
}

/** Whether the test that ends has failed. */
export function hasTestFailed(): boolean {
  return (globalThis as { hasTestFailed?: boolean }).hasTestFailed === true;
}
