/** Whatever comes in as file, environment or arguments: a Config or a ConfigError, in bounded words. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { loadConfig, loadOptions } from '../../sidecar/config/load.ts';
import { argumentOf, listOptions } from '../../sidecar/config/option.ts';
import { isConfigError } from '../../sidecar/config/problems.ts';
import { SCHEMA } from '../../sidecar/config/schema.ts';
import { configInput, type MadeUp, MESH_KEY } from '../support/generators/config-input.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const OPTIONS = [...listOptions(SCHEMA)];
const VARIABLES = OPTIONS.flatMap(([, leaf]) => (leaf.env === null ? [] : [leaf.env, `${leaf.env}_FILE`]));
const NAMES = VARIABLES.map(argumentOf);

const nasty = fc.constantFrom(
  '',
  ' ',
  '0',
  '-1',
  '1e9',
  'none',
  'true',
  'a=b',
  'a=http://x',
  '=',
  ',',
  '{}',
  '[',
  '127.0.0.1:0',
  ':1',
  'http://u:p@h/',
  '__proto__',
  'constructor',
  '\u0000',
  '\ud800',
  '9'.repeat(400),
  'a'.repeat(5000),
  '60s',
  '%',
);
const word = fc.oneof(nasty, fc.string({ maxLength: 30 }));
const names = fc.oneof(fc.constantFrom(...new Set(OPTIONS.flatMap(([key]) => key.split('.')))), word);
const tree = fc.letrec((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    word,
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('node'), { maxLength: 3 }),
    fc.array(fc.tuple(names, tie('node')), { maxLength: 4 }).map(Object.fromEntries),
  ),
})).node;

/** Runs the load; anything but a Config or a ConfigError fails. */
function check(made: MadeUp): void {
  for (const purpose of ['sidecar', 'bootstrap'] as const) {
    try {
      expect(loadConfig(configInput(made), purpose).config.cache.ttlMs).toBeGreaterThan(0);
    } catch (error) {
      mustHold(isConfigError(error), error instanceof Error ? error.stack : String(error));
      expect(error.problems.length).toBeGreaterThan(0);
      expect(error.problems.length).toBeLessThanOrEqual(101);
      for (const problem of error.problems) {
        expectNamed(problem, 'an exception was caught late').not.toMatch(/cannot be read \(/);
        expectNamed(problem.length, `${problem.length} characters`).toBeLessThanOrEqual(501);
      }
    }
  }
  try {
    loadOptions(configInput(made), { own: { json: 'flag' }, maxPositionals: 1 });
  } catch (error) {
    expect(isConfigError(error)).toBe(true);
  }
}

describe('any configuration', () => {
  test('any environment gives a configuration or its mistakes', () => {
    const environment = fc.dictionary(
      fc.oneof(
        fc.constantFrom(...VARIABLES),
        word.map((name) => `SIDECAR_${name}`),
      ),
      word,
      {
        maxKeys: 8,
      },
    );
    fc.assert(
      fc.property(environment, fc.boolean(), (env, hasKey) => {
        check({ env: hasKey ? { SIDECAR_MESH_KEY: MESH_KEY, ...env } : env });
      }),
      { numRuns: 400 },
    );
  });

  test('any arguments give a configuration or their mistakes', () => {
    const argument = fc.oneof(
      word,
      fc.constantFrom(...NAMES).map((name) => `--${name}`),
      fc.tuple(fc.constantFrom(...NAMES), word).map(([name, value]) => `--${name}=${value}`),
      fc.constantFrom('--config', '--', '-', '-x', '--json', '--config=c.yaml', '--no-json'),
    );
    fc.assert(
      fc.property(fc.array(argument, { maxLength: 8 }), (args) =>
        check({ args, env: { SIDECAR_MESH_KEY: MESH_KEY } }),
      ),
      { numRuns: 400 },
    );
  });

  test('any tree in the file gives a configuration or its mistakes', () => {
    fc.assert(
      fc.property(tree, (content) => {
        const files = { 'c.json': JSON.stringify(content) ?? 'null', 'c.yaml': stringify(content) };
        for (const path of Object.keys(files)) {
          check({ args: ['--config', path], env: { SIDECAR_MESH_KEY: MESH_KEY }, files });
        }
      }),
      { numRuns: 400 },
    );
  });

  test('any text as the file gives a configuration or its mistakes', () => {
    const lines = fc.array(
      fc.oneof(
        word,
        names.map((name) => `${name}:`),
        fc.constantFrom('  - a', '&a', '*a', '? b', '|', '>'),
      ),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          lines.map((list) => list.join('\n')),
        ),
        (content) => {
          check({
            args: ['--config', 'c.yaml'],
            env: { SIDECAR_MESH_KEY: MESH_KEY },
            files: { 'c.yaml': content },
          });
          check({
            args: ['--config', 'c.json'],
            env: { SIDECAR_MESH_KEY: MESH_KEY },
            files: { 'c.json': content },
          });
        },
      ),
      { numRuns: 400 },
    );
  });

  test('one value means the same from the file, the environment and an argument', () => {
    const plain = OPTIONS.filter(([, leaf]) => leaf.env !== null && !leaf.secret && !leaf.mapping);
    fc.assert(
      fc.property(
        fc.constantFrom(...plain),
        fc.oneof(word, fc.constantFrom('5s', '64KiB', '3', 'info')),
        (option, value) => {
          const [key, leaf] = option;
          fc.pre(value.trim() !== '' && !value.startsWith('-') && !value.includes('\ud800'));
          const nested = key.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
          const base = { SIDECAR_MESH_KEY: MESH_KEY };
          const outcome = (made: MadeUp) => {
            try {
              return loadConfig(configInput(made)).config;
            } catch (error) {
              return isConfigError(error)
                ? error.problems.map((problem) => problem.replace(/^.*?: /s, ''))
                : error;
            }
          };
          const byEnvironment = outcome({ env: { ...base, [leaf.env as string]: value } });
          expect(
            outcome({ env: base, args: [`--${argumentOf(leaf.env as string)}=${value}`] }),
          ).toStrictEqual(byEnvironment);
          const byFile = outcome({
            env: base,
            args: ['--config', 'c.json'],
            files: { 'c.json': JSON.stringify(nested) },
          });
          expect(byFile).toStrictEqual(byEnvironment);
        },
      ),
      { numRuns: 400 },
    );
  });
});
