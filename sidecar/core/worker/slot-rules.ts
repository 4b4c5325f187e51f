/**
 * Which requests of a service are told apart from its work: `/interrupt`, `GET`, `GET /models`, `/files/*`.
 *
 * By method and path as the app asked, byte for byte, because a looser comparison would let work pass as something else:
 * what is spelt in another way waits its turn like everything.
 */

export interface SlotRule {
  /** null = any. */
  readonly method: string | null;
  /** null = any. Compared without the query. */
  readonly path: string | null;
  /** The path is what others begin with. */
  readonly isPrefix: boolean;
}

/** As methods are written; in lower case it would be a path that lacks its slash. */
const METHOD = /^[A-Z][A-Z_-]{0,63}$/;

/** Visible ASCII without query and fragment; `*` at its end alone. */
const PATH = /^\/[\x21\x22\x24-\x29\x2b-\x3e\x40-\x7e]{0,1023}\*?$/;

/** What would lead out of a prefix, in any spelling. */
const DOT_SEGMENT = /(?:^|[\\/]|%2f|%5c)(?:\.|%2e){1,2}(?:$|[\\/;]|%2f|%5c)/i;

/** null = it is none. Never throws. */
export function parseSlotRule(text: string): SlotRule | null {
  const words = text.trim().split(/ +/);
  const [method, path] =
    words.length === 2 ? words : text.startsWith('/') ? [null, words[0]] : [words[0], null];
  if (words.length > 2 || (method != null && !METHOD.test(method))) return null;
  if (path == null) return { method: method ?? null, path: null, isPrefix: false };
  if (!PATH.test(path)) return null;
  const isPrefix = path.endsWith('*');
  return { method: method ?? null, path: isPrefix ? path.slice(0, -1) : path, isPrefix };
}

/** `target`: path and query below the service. */
export function matchesAny(rules: readonly SlotRule[], method: string, target: string): boolean {
  const queryAt = target.indexOf('?');
  const path = queryAt < 0 ? target : target.slice(0, queryAt);
  return rules.some((rule) => matches(rule, method, path));
}

function matches(rule: SlotRule, method: string, path: string): boolean {
  if (rule.method !== null && rule.method !== method) return false;
  if (rule.path === null) return true;
  if (!rule.isPrefix) return path === rule.path;
  return path.startsWith(rule.path) && !DOT_SEGMENT.test(path);
}
