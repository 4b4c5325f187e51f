/**
 * The tests as they run in the instrumented copy: in the order of the plan, each file once, nothing printed.
 *
 * Beside the repository's own configuration, as each test here has its own limit, taken from how long it took.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ORDER = Object.keys(JSON.parse(readFileSync(process.env.MUTATE_PLAN, 'utf8')).files);

export default {
  rootDir: fileURLToPath(new URL('../../', import.meta.url)),
  testMatch: ORDER.map((file) => `<rootDir>/${file}`),
  testEnvironment: '<rootDir>/scripts/mutate/environment.mjs',
  testSequencer: '<rootDir>/scripts/mutate/planned-order.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  transform: {},
  setupFilesAfterEnv: ['<rootDir>/test/support/runner/scopes.ts'],
  testTimeout: 90_000,
  watchman: false,
  reporters: [],
};
