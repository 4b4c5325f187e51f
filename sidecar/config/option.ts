/**
 * One option of the configuration, and the tree of them: what convict's schema is made from.
 *
 * A typed leaf with one parser for every source, since convict's own formats cannot be trusted with text: its Boolean
 * takes "maybe" for true, its Number takes `12abc` for 12. So convict sees only text and null as defaults (then it
 * converts nothing) and keeps what it is good at: keys, precedence, defaults.
 */

/** Turns a raw value (text, or what the file held) into the value; throws an Error in plain words. */
export type Parser<T> = (raw: unknown) => T;

export interface Option<T> {
  readonly parse: Parser<T>;
  /** As one would write it; null = unset, and then not parsed. */
  readonly default: string | null;
  /** For the reference page, one or two sentences. */
  readonly doc: string;
  /** What the default is, where it is found at start. */
  readonly defaultDoc: string | null;
  /** Environment variable; the argument follows from it. null = file only. */
  readonly env: string | null;
  /** Never shown, also readable from a file named by `<env>_FILE`, and not accepted as an argument. */
  readonly secret: boolean;
  /** The file may hold a mapping here. */
  readonly mapping: boolean;
}

export interface OptionTree {
  readonly [key: string]: Option<unknown> | OptionTree;
}

/** What a tree of options becomes once read. */
export type ValuesOf<S> = {
  readonly [K in keyof S]: S[K] extends Option<infer T> ? T : ValuesOf<S[K]>;
};

interface OptionWords {
  readonly doc: string;
  readonly env?: string;
  readonly defaultDoc?: string;
  readonly secret?: boolean;
  readonly mapping?: boolean;
}

function make<T>(parse: Parser<T>, defaultText: string | null, words: OptionWords): Option<T> {
  return {
    parse,
    default: defaultText,
    doc: words.doc,
    defaultDoc: words.defaultDoc ?? null,
    env: words.env ?? null,
    secret: words.secret ?? false,
    mapping: words.mapping ?? false,
  };
}

/** An option with a default. */
export function option<T>(parse: Parser<T>, defaultText: string, words: OptionWords): Option<T> {
  return make(parse, defaultText, words);
}

/** An option that may stay unset: null. */
export function optional<T>(parse: Parser<T>, words: OptionWords): Option<T | null> {
  return make<T | null>(parse, null, words);
}

export function isOption(node: Option<unknown> | OptionTree | undefined): node is Option<unknown> {
  return node !== undefined && typeof (node as { parse?: unknown }).parse === 'function';
}

/** Every option with its dotted key, in the order of the tree. */
export function listOptions(tree: OptionTree, prefix = ''): ReadonlyMap<string, Option<unknown>> {
  const found = new Map<string, Option<unknown>>();
  for (const [name, node] of Object.entries(tree)) {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    if (isOption(node)) found.set(key, node);
    else for (const [inner, leaf] of listOptions(node, key)) found.set(inner, leaf);
  }
  return found;
}

/** `SIDECAR_CACHE_TTL` → `cache-ttl`. */
export function argumentOf(env: string): string {
  return env
    .replace(/^SIDECAR_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
}
