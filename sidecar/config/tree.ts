/**
 * Reading a tree of options: the raw values of every source → typed values, through convict.
 *
 * convict keeps the keys and the order of precedence; what it would say of a wrong value (it repeats it) and do with an
 * unknown key (it crashes on some: a dot in a key, a scalar where a group belongs) is done here before it.
 */
import convict from 'convict';
import { nearestWord } from '../core/nearest-word.ts';
import { isOption, listOptions, type Option, type OptionTree, type ValuesOf } from './option.ts';
import { shown } from './parsers.ts';
import type { Problems } from './problems.ts';

/** Raw value and the words that name its place: `SIDECAR_CACHE_TTL`, `--cache-ttl`, `cache.ttl in x.yaml`. */
export interface RawValue {
  readonly raw: unknown;
  readonly where: string;
  /** The file that it stands in, alone or with others. */
  readonly file?: string;
}

/** Key of an option → value. */
export type RawValues = ReadonlyMap<string, RawValue>;

export interface TreeResult<S> {
  readonly values: ValuesOf<S>;
  /** Keys whose value was wrong; they hold their default. */
  readonly failed: ReadonlySet<string>;
  /** Where a key got its value, for later complaints. */
  where(key: string): string;
  /** The file that a value was read from; null where it is not from one. */
  file(key: string): string | null;
}

function isMapping(raw: unknown): raw is Record<string, unknown> {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw);
}

/** What a file holds, by option; unknown keys and misplaced groups become problems. */
export function flattenFile(
  tree: OptionTree,
  raw: unknown,
  label: (key: string) => string,
  problems: Problems,
  prefix = '',
): Map<string, RawValue> {
  const found = new Map<string, RawValue>();
  if (raw === null || raw === undefined) return found;
  if (!isMapping(raw)) {
    problems.add(label(prefix), `expected a mapping${keyWords(tree)}, not ${shown(raw)}`);
    return found;
  }
  for (const [name, value] of Object.entries(raw)) {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    const node = Object.hasOwn(tree, name) ? tree[name] : undefined;
    if (node === undefined) {
      problems.add(label(shortKey(key)), `unknown key${suggestion(name, Object.keys(tree), prefix)}`);
    } else if (!isOption(node)) {
      for (const [inner, leaf] of flattenFile(node, value, label, problems, key)) found.set(inner, leaf);
    } else if (isMapping(value)) {
      // A Map is opaque to convict, which would otherwise split the keys inside at their dots.
      if (node.mapping) found.set(key, { raw: new Map(Object.entries(value)), where: label(key) });
      else problems.add(label(key), 'expected one value, not a mapping');
    } else if (value !== null && value !== undefined) found.set(key, { raw: value, where: label(key) });
  }
  return found;
}

function keyWords(tree: OptionTree): string {
  const names = Object.keys(tree);
  return names.length > 24 ? '' : ` of ${names.join(', ')}`;
}

function shortKey(key: string): string {
  const printable = key.replace(/[\u0000-\u001f\u007f]/g, '?');
  return printable.length > 80 ? `${printable.slice(0, 80)}…` : printable;
}

export function suggestion(word: string, known: Iterable<string>, prefix = ''): string {
  const near = nearestWord(word, known);
  return near === null ? '' : `; did you mean ${prefix === '' ? near : `${prefix}.${near}`}?`;
}

function convictSchema(
  tree: OptionTree,
  check: (key: string, raw: unknown) => void,
  prefix = '',
): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const [name, node] of Object.entries(tree)) {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    made[name] = isOption(node)
      ? {
          default: node.default,
          doc: node.doc,
          env: node.env ?? undefined,
          sensitive: node.secret,
          format: (raw: unknown) => check(key, raw),
        }
      : convictSchema(node, check, key);
  }
  return made;
}

function typed(
  tree: OptionTree,
  value: (key: string, leaf: Option<unknown>) => unknown,
  prefix = '',
): unknown {
  return Object.fromEntries(
    Object.entries(tree).map(([name, node]) => {
      const key = prefix === '' ? name : `${prefix}.${name}`;
      return [name, isOption(node) ? value(key, node) : typed(node, value, key)];
    }),
  );
}

/** file < environment < arguments. Wrong values become problems and leave the default in place. */
export function readTree<S extends OptionTree>(
  tree: S,
  sources: { file: RawValues; env: RawValues; args: RawValues },
  problems: Problems,
): TreeResult<S> {
  const options = listOptions(tree);
  const winner = (key: string) => sources.args.get(key) ?? sources.env.get(key) ?? sources.file.get(key);
  const where = (key: string) => winner(key)?.where ?? options.get(key)?.env ?? key;
  const file = (key: string) => winner(key)?.file ?? null;
  const parsed = new Map<string, unknown>();
  const failed = new Set<string>();
  const check = (key: string, raw: unknown) => {
    const leaf = options.get(key) as Option<unknown>;
    if (raw === null) return void parsed.set(key, null);
    const value = problems.attempt(where(key), () => leaf.parse(raw));
    if (value !== undefined) return void parsed.set(key, value);
    failed.add(key);
    parsed.set(key, leaf.default === null ? null : leaf.parse(leaf.default));
  };

  const environment: Record<string, string> = {};
  for (const [key, value] of sources.env) {
    const name = options.get(key)?.env;
    if (name !== undefined && name !== null) environment[name] = String(value.raw);
  }
  const config = convict(convictSchema(tree, check) as convict.Schema<Record<string, unknown>>, {
    env: environment,
    args: [],
  });
  for (const [key, value] of sources.file) config.set(key, value.raw);
  // The second half of convict's load: the environment over the file.
  config.load({});
  for (const [key, value] of sources.args) config.set(key, value.raw);
  config.validate({ allowed: 'strict' });
  return { values: typed(tree, (key) => parsed.get(key) ?? null) as ValuesOf<S>, failed, where, file };
}
