/**
 * Mutants that change nothing which anybody could observe, each with the reason, so that they are not counted.
 *
 * An entry is known by its file and by the lines as the mutant makes them, each blank as one. One that fits no mutant
 * any more is an error: the rule has changed, and the reason may have too.
 */
import type { Mutant } from './mutants.ts';

interface Equivalent {
  readonly file: string;
  readonly after: string;
  readonly why: string;
}

const EQUIVALENTS: readonly Equivalent[] = [
  {
    file: 'sidecar/core/balancing/basic-policies.ts',
    after: 'needsScores: true,',
    why: 'scores that a policy does not read cost time and decide nothing',
  },
  {
    file: 'sidecar/core/peers/load-report.ts',
    after: 'this.#at = this.#text.length - 2;',
    why: 'one bad number makes the whole report none, whatever is read behind it',
  },
  {
    file: 'sidecar/core/forwarding/via.ts',
    after: 'if (!value.includes("")) return value;',
    why: 'without a parenthesis nothing is taken away; the question only saves time',
  },
  {
    file: 'sidecar/proxy/worker/local-service.ts',
    after: 'if (!acquired.cancel()) return true;',
    why: 'what waits no more is not in the list of those that can be cancelled, and nobody else reads the result',
  },
  {
    file: 'sidecar/core/http/http1-request-head.ts',
    after: 'for (let skipped = 0; skipped < MAX_LEADING_EMPTY_LINES && true && b[at] === CR; skipped++) {',
    why: 'at the limit the first question of the loop is whether that is reached, with the same end as without it',
  },
  {
    file: 'sidecar/core/forwarding/forwarded.ts',
    after: 'if (false) return lastPrefix;',
    why: 'what was found usable before is found so again',
  },
];

/** The mutants without those, and the entries that fit none. */
export function withoutEquivalents(mutants: readonly Mutant[]): {
  readonly rest: readonly Mutant[];
  readonly stale: readonly Equivalent[];
} {
  const idOf = ({ file, after }: Pick<Equivalent, 'file' | 'after'>): string => `${file}\0${after}`;
  const known = new Set(EQUIVALENTS.map(idOf));
  const made = new Set(mutants.map(idOf));
  return {
    rest: mutants.filter((mutant) => !known.has(idOf(mutant))),
    stale: EQUIVALENTS.filter((entry) => !made.has(idOf(entry))),
  };
}
