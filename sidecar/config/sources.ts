/**
 * Where raw values come from: arguments, environment, secret files.
 *
 * Arguments are split by node:util (convict lets unknown ones pass, and turns `1e3` into 1000 on the way); unknown
 * arguments and unknown SIDECAR_ variables are mistakes, because a mistyped option that is silently ignored is found in
 * production. Nothing secret goes into a message.
 */
import { parseArgs } from 'node:util';
import { argumentOf, listOptions, type OptionTree } from './option.ts';
import type { Problems } from './problems.ts';
import { type RawValue, suggestion } from './tree.ts';

/** Reads a text file; throws the reason in plain words, without the path. */
export type ReadText = (path: string) => string;

export interface ArgumentValues {
  readonly config: ReadonlyMap<string, RawValue>;
  /** Path of `--config`; null when it is not there. */
  readonly configFile: string | null;
  /** Options of the command itself: flags are `true`. */
  readonly own: ReadonlyMap<string, string | true>;
  readonly positionals: readonly string[];
}

export interface EnvironmentValues {
  readonly config: ReadonlyMap<string, RawValue>;
  readonly configFile: string | null;
}

/** Options that a command has beside those of the configuration; the same name hides the latter. */
export type OwnOptions = Readonly<Record<string, 'flag' | 'value'>>;

function secretText(path: string, where: string, readText: ReadText, problems: Problems): RawValue | null {
  const content = problems.attempt(where, () => readText(path));
  if (content === undefined) return null;
  const secret = content.trim();
  if (secret !== '') return { raw: secret, where, file: path };
  problems.add(where, 'the file is empty');
  return null;
}

/** Positional arguments above this count become problems; they are shown only if they look like a word. */
export function readArguments(
  tree: OptionTree,
  args: readonly string[],
  own: OwnOptions,
  maxPositionals: number,
  readText: ReadText,
  problems: Problems,
): ArgumentValues {
  const keys = new Map<string, { key: string; file: boolean; refused: boolean }>();
  for (const [key, leaf] of listOptions(tree)) {
    if (leaf.env === null || Object.hasOwn(own, argumentOf(leaf.env))) continue;
    keys.set(argumentOf(leaf.env), { key, file: false, refused: leaf.secret });
    if (leaf.secret) keys.set(`${argumentOf(leaf.env)}-file`, { key, file: true, refused: false });
  }
  const values = [...keys.keys(), 'config', ...Object.keys(own).filter((name) => own[name] === 'value')];
  const flags = Object.keys(own).filter((name) => own[name] === 'flag');
  const options = Object.fromEntries([
    ...values.map((name) => [name, { type: 'string' as const }] as const),
    ...flags.map((name) => [name, { type: 'boolean' as const }] as const),
  ]);

  const known = [...keys.keys(), 'config', ...Object.keys(own)].map((name) => `--${name}`);

  const config = new Map<string, RawValue>();
  const ownValues = new Map<string, string | true>();
  const positionals: string[] = [];
  let configFile: string | null = null;
  const { tokens } = parseArgs({
    args: [...args],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  let afterUnknown = false;
  for (const token of tokens) {
    // What follows a mistyped option is most likely its value, and perhaps a secret.
    const skipped = afterUnknown && token.kind === 'positional';
    afterUnknown = false;
    if (token.kind === 'option-terminator' || skipped) continue;
    if (token.kind === 'positional') {
      positionals.push(token.value);
      if (positionals.length > maxPositionals) problems.add(plainWord(token.value), 'unexpected argument');
      continue;
    }
    const name = token.name;
    const where = `--${plainWord(name)}`;
    if (!values.includes(name) && !flags.includes(name)) {
      problems.add(
        token.rawName.startsWith('--') ? where : `-${plainWord(name)}`,
        `unknown argument${suggestion(`--${name}`, known)}`,
      );
      afterUnknown = token.value === undefined;
      continue;
    }
    if (flags.includes(name)) {
      if (token.value !== undefined) problems.add(where, 'takes no value');
      ownValues.set(name, true);
      continue;
    }
    const option = keys.get(name);
    if (option?.refused === true) {
      problems.add(
        where,
        `every process of the host could read it there; use ${where}-file, or the environment`,
      );
      continue;
    }
    const value = token.value;
    if (value === undefined || value === '' || (!token.inlineValue && /^--?[a-z]/i.test(value))) {
      problems.add(where, 'needs a value');
    } else if (name === 'config') configFile = value;
    else if (option === undefined) ownValues.set(name, value);
    else {
      const raw = option.file ? secretText(value, where, readText, problems) : { raw: value, where };
      if (raw !== null) config.set(option.key, raw);
    }
  }
  return { config, configFile, own: ownValues, positionals };
}

function plainWord(word: string): string {
  return /^[\w.:/-]{1,40}$/.test(word) ? word : '(an argument)';
}

// What Kubernetes and old Docker put into containers for a service that is called "sidecar…".
function isServiceLink(name: string, value: string): boolean {
  return (
    /_SERVICE_HOST$|_SERVICE_PORT(?:_\w+)?$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/.test(
      name,
    ) ||
    (name.endsWith('_PORT') && /^(?:tcp|udp|sctp):\/\//.test(value))
  );
}

/** A file of variables with CRLF leaves the CR to each of them; nothing but space is nothing. */
function withoutLineEnd(value: string | undefined): string {
  return value === undefined || value.trim() === '' ? '' : value.replace(/[\r\n]+$/, '');
}

/** Empty variables count as unset, as container tools pass them that way. */
export function readEnvironment(
  tree: OptionTree,
  environment: Readonly<Record<string, string | undefined>>,
  readText: ReadText,
  problems: Problems,
): EnvironmentValues {
  const config = new Map<string, RawValue>();
  const known = new Set<string>(['SIDECAR_CONFIG']);
  for (const [key, leaf] of listOptions(tree)) {
    if (leaf.env === null) continue;
    known.add(leaf.env);
    const value = withoutLineEnd(environment[leaf.env]);
    if (value !== '') config.set(key, { raw: value, where: leaf.env });
    if (!leaf.secret) continue;
    const fileVariable = `${leaf.env}_FILE`;
    known.add(fileVariable);
    const path = withoutLineEnd(environment[fileVariable]);
    if (path === '') continue;
    if (config.has(key)) problems.add(fileVariable, `${leaf.env} is set as well; keep one of the two`);
    const raw = secretText(path, fileVariable, readText, problems);
    if (raw !== null) config.set(key, raw);
  }
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith('SIDECAR_') || known.has(name) || withoutLineEnd(value) === '') continue;
    if (isServiceLink(name, withoutLineEnd(value))) continue;
    problems.add(name.slice(0, 80), `unknown variable${suggestion(name, known)}`);
  }
  return { config, configFile: withoutLineEnd(environment.SIDECAR_CONFIG) || null };
}
