/**
 * An explanation cut to what fits into a header field: of many candidates those that matter most to the choice.
 *
 * Clients bound the fields of an answer (Node's at 16 KiB for all), and a thousand candidates are a thousand times
 * 700 bytes; the whole is on /explain. It must not know HTTP.
 */
import type { ExplainedCandidate, Explanation } from './explain.ts';

/** Of JSON; leaves room for what else is in the answer. */
const MAX_CHARS = 8_000;

/** The same, with the chosen, the next, then those that would serve soonest; `omitted` says how many are left out. */
export function brief(explanation: Explanation): Explanation {
  if (JSON.stringify(explanation).length <= MAX_CHARS) return explanation;
  const { candidates, chosen, chosenNext } = explanation;
  const rankOf = ({ worker_id, score }: ExplainedCandidate): number => {
    if (worker_id === chosen) return -2;
    if (worker_id === chosenNext?.worker_id) return -1;
    return score?.expected_ms ?? Number.POSITIVE_INFINITY;
  };
  const ranked = candidates.map((each) => ({ each, rank: rankOf(each) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0));
  let left = MAX_CHARS - JSON.stringify({ ...explanation, candidates: [] }).length;
  const kept: ExplainedCandidate[] = [];
  for (const { each } of ranked) {
    left -= JSON.stringify(each).length + 1;
    if (left < 0) break;
    kept.push(each);
  }
  return { ...explanation, candidates: kept, omitted: explanation.omitted + candidates.length - kept.length };
}
