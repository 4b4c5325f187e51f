/**
 * Prometheus text: the samples of a few metrics out of a page that may hold thousands, pure.
 *
 * Not a full parser: only lines that begin with a wanted name are looked at, so that a page of megabytes (vLLM's
 * histograms) costs a scan. Grammar: prometheus.io "Exposition formats" 0.0.4, and OpenMetrics as far as its lines are
 * the same. What is not well-formed is skipped, never guessed.
 */

export interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Finite. */
  readonly value: number;
}

/** Series beyond this are not read. */
const MAX_SAMPLES = 1_024;
const MAX_LINE_CHARS = 8_192;
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(,?)/y;
const VALUE = /^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/;

/** The samples of the wanted names, in the order of the page. Never throws. */
export function parseSamples(text: string, names: ReadonlySet<string>): readonly Sample[] {
  const samples: Sample[] = [];
  let start = 0;
  while (start < text.length && samples.length < MAX_SAMPLES) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    if (end - start <= MAX_LINE_CHARS) {
      const sample = parseLine(text.slice(start, end), names);
      if (sample !== null) samples.push(sample);
    }
    start = end + 1;
  }
  return samples;
}

function parseLine(line: string, names: ReadonlySet<string>): Sample | null {
  const name = NAME.exec(line)?.[0];
  if (name === undefined || !names.has(name)) return null;
  let rest = line.slice(name.length);
  const labels = new Map<string, string>();
  if (rest.startsWith('{')) {
    const end = readLabels(rest, labels);
    if (end === null) return null;
    rest = rest.slice(end);
  } else if (!/^[ \t]/.test(rest)) return null;
  const [value = ''] = rest.trimStart().split(/[ \t\r]/, 1);
  const number = VALUE.test(value) ? Number(value) : Number.NaN;
  return Number.isFinite(number) ? { name, labels, value: number } : null;
}

/** Fills `labels` from `{a="b",…}`; returns the index after it, or null when it is not well-formed. */
function readLabels(text: string, labels: Map<string, string>): number | null {
  LABEL.lastIndex = 1;
  for (;;) {
    const from = LABEL.lastIndex;
    const found = LABEL.exec(text);
    if (found === null) return closing(text, from);
    const [, label = '', raw = '', comma] = found;
    if (labels.has(label)) return null;
    labels.set(label, unescaped(raw));
    if (comma === '') return closing(text, LABEL.lastIndex);
  }
}

function closing(text: string, from: number): number | null {
  let at = from;
  while (text[at] === ' ' || text[at] === '\t') at += 1;
  return text[at] === '}' ? at + 1 : null;
}

function unescaped(raw: string): string {
  return raw.replace(/\\(.)/g, (_, sign: string) => (sign === 'n' ? '\n' : sign));
}
