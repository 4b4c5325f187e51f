/**
 * "Did you mean": the known word closest to a mistyped one.
 *
 * Optimal string alignment distance (Levenshtein plus the swap of two neighbours, Damerau 1964), since the swap is the
 * commonest slip; a suggestion further than a third of the word is noise and not made. Bounded, because refusals ask it
 * while requests wait: a comparison ends once it cannot win, and of very many known words of about the same length only
 * the first are compared.
 */

const MAX_LENGTH = 64;

/** Of those whose length alone does not rule them out; a thousand would take 10 ms. */
const MAX_COMPARED = 100;

/**
 * Edits between two words: insert, delete, replace, or swap neighbours. One that reaches `enough` is not counted to
 * its end: the response is then `enough`.
 */
export function editDistance(a: string, b: string, enough = Number.POSITIVE_INFINITY): number {
  let beforePrevious = new Uint16Array(b.length + 1);
  let previous = Uint16Array.from({ length: b.length + 1 }, (_, j) => j);
  let current = new Uint16Array(b.length + 1);
  let leastBefore = 0;
  for (let i = 1; i <= a.length; i++) {
    current[0] = i;
    let least = i;
    const unit = a.charCodeAt(i - 1);
    const unitBefore = a.charCodeAt(i - 2);
    for (let j = 1; j <= b.length; j++) {
      const other = b.charCodeAt(j - 1);
      let best = Math.min(previous[j] as number, current[j - 1] as number) + 1;
      best = Math.min(best, (previous[j - 1] as number) + (unit === other ? 0 : 1));
      if (i > 1 && j > 1 && unit === b.charCodeAt(j - 2) && unitBefore === other) {
        best = Math.min(best, (beforePrevious[j - 2] as number) + 1);
      }
      current[j] = best;
      least = Math.min(least, best);
    }
    // A swap reaches back two rows, and costs one.
    if (least >= enough && leastBefore + 1 >= enough) return enough;
    leastBefore = least;
    [beforePrevious, previous, current] = [previous, current, beforePrevious];
  }
  return Math.min(previous[b.length] as number, enough);
}

/** The closest of `known`, or null when none is close. */
export function nearestWord(word: string, known: Iterable<string>): string | null {
  if (word.length > MAX_LENGTH) return null;
  const lower = word.toLowerCase();
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  let compared = 0;
  for (const candidate of known) {
    // Each letter more or less is an edit.
    if (candidate.length > MAX_LENGTH || Math.abs(candidate.length - word.length) >= bestDistance) continue;
    if (++compared > MAX_COMPARED) break;
    const distance = editDistance(lower, candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}
