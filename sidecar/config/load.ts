/**
 * Configuration in one call: file < environment < arguments → a frozen `Config`, or one `ConfigError` that holds every
 * mistake.
 *
 * Everything outside comes as a parameter (arguments, environment, a reader of files, facts of the host), so that a
 * test can try any of it.
 */
import type { Config } from './config.ts';
import { parseConfigFile } from './config-file.ts';
import type { HostFacts } from './host-facts.ts';
import type { CheckMembership } from './membership.ts';
import { listOptions, type ValuesOf } from './option.ts';
import { shown } from './parsers.ts';
import { ConfigError, Problems } from './problems.ts';
import { type Purpose, resolveConfig } from './resolve.ts';
import { SCHEMA } from './schema.ts';
import {
  type ArgumentValues,
  type OwnOptions,
  type ReadText,
  readArguments,
  readEnvironment,
} from './sources.ts';
import { flattenFile, type RawValues, readTree, type TreeResult } from './tree.ts';

export interface ConfigInput {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readText: ReadText;
  readonly host: HostFacts;
  readonly checkMembership: CheckMembership;
}

/** What a command takes beside the options of the configuration. */
export interface CommandLine {
  readonly own: OwnOptions;
  readonly maxPositionals: number;
}

export interface Parsed {
  readonly own: ArgumentValues['own'];
  readonly positionals: readonly string[];
}

export interface LoadedConfig {
  readonly config: Config;
  /** Key of each option (`cache.ttl`) → its value, as it was read. */
  readonly options: ReadonlyMap<string, unknown>;
}

function optionValues(values: object): ReadonlyMap<string, unknown> {
  const valueAt = (key: string): unknown =>
    key.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], values);
  return new Map([...listOptions(SCHEMA).keys()].map((key) => [key, valueAt(key)]));
}

const NOTHING: CommandLine = { own: {}, maxPositionals: 0 };

function readSources(
  input: Omit<ConfigInput, 'host' | 'checkMembership'>,
  line: CommandLine,
  problems: Problems,
): { tree: TreeResult<typeof SCHEMA>; args: ArgumentValues } {
  const args = readArguments(SCHEMA, input.args, line.own, line.maxPositionals, input.readText, problems);
  const env = readEnvironment(SCHEMA, input.env, input.readText, problems);
  const path = args.configFile ?? env.configFile;
  let file: RawValues = new Map();
  if (path !== null) {
    const where = `${args.configFile === null ? 'SIDECAR_CONFIG' : '--config'} ${shown(path)}`;
    const content = problems.attempt(where, () => input.readText(path));
    if (content !== undefined) {
      const parsed = problems.attempt(path, () => ({ raw: parseConfigFile(path, content) }));
      if (parsed !== undefined) {
        const label = (key: string) => (key === '' ? path : `${key} in ${path}`);
        const found = flattenFile(SCHEMA, parsed.raw, label, problems);
        file = new Map([...found].map(([key, value]) => [key, { ...value, file: path }]));
      }
    }
  }
  return { tree: readTree(SCHEMA, { file, env: env.config, args: args.config }, problems), args };
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Object.isFrozen(value))
    return value;
  for (const inner of value instanceof Map ? value.values() : Object.values(value)) freeze(inner);
  return Object.freeze(value);
}

/** The whole configuration; throws a `ConfigError` and nothing else. */
export function loadConfig(
  input: ConfigInput,
  purpose: Purpose = 'sidecar',
  line: CommandLine = NOTHING,
): Parsed & LoadedConfig {
  const problems = new Problems();
  try {
    const { tree, args } = readSources(input, line, problems);
    const config = resolveConfig(tree, input.host, input.readText, input.checkMembership, purpose, problems);
    if (problems.lines.length === 0)
      return {
        config: freeze(config),
        options: optionValues(tree.values),
        own: args.own,
        positionals: args.positionals,
      };
  } catch (error) {
    problems.add(
      'configuration',
      `cannot be read (${error instanceof Error ? error.name : 'unknown fault'})`,
    );
  }
  throw new ConfigError(problems.lines);
}

/**
 * The options by themselves, for commands that need a few of them (the admin port, the mesh key) and no
 * complete configuration. Throws a `ConfigError` and nothing else.
 */
export function loadOptions(
  input: Omit<ConfigInput, 'host' | 'checkMembership'>,
  line: CommandLine,
): Parsed & { readonly values: ValuesOf<typeof SCHEMA> } {
  const problems = new Problems();
  try {
    const { tree, args } = readSources(input, line, problems);
    if (problems.lines.length === 0) {
      return { values: tree.values, own: args.own, positionals: args.positionals };
    }
  } catch (error) {
    problems.add(
      'configuration',
      `cannot be read (${error instanceof Error ? error.name : 'unknown fault'})`,
    );
  }
  throw new ConfigError(problems.lines);
}
