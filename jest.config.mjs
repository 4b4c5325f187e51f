/**
 * The tests, in five projects by what they need: nothing (unit, property), loopback sockets (integration), sidecars or
 * processes under attack (security), processes and the tools that scripts/setup-test-tools installs (e2e).
 *
 * Sources are run as Node runs them, their types stripped, as ES modules. For these jest needs Node's flag
 * `--experimental-vm-modules`, which `.npmrc` gives to `npm test` and to `npx jest` alike.
 */
import vm from 'node:vm';

if (vm.SourceTextModule === undefined) {
  throw new Error('run `npx jest` or `npm test`: they give Node the flag --experimental-vm-modules');
}

/** One folder of test/. */
const project = (name, ...setup) => ({
  displayName: name,
  testMatch: [`<rootDir>/test/${name}/**/*.test.ts`],
  testEnvironment: '<rootDir>/test/support/runner/test-environment.mjs',
  extensionsToTreatAsEsm: ['.ts'],
  // Without a transform jest strips the types itself.
  transform: {},
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  setupFilesAfterEnv: ['scopes.ts', 'seed.ts', ...setup].map(
    (file) => `<rootDir>/test/support/runner/${file}`,
  ),
});

export default {
  projects: [
    project('unit', 'short-limit.ts'),
    project('property', 'short-limit.ts'),
    project('integration'),
    project('security'),
    project('e2e'),
  ],
  // It only ends a test that would hang; no test asserts a time by it.
  testTimeout: 180_000,
  // The tests of processes start up to a dozen each: more at once would wait for the CPU and not for each other.
  maxWorkers: 2,
  // A process for each file: a sidecar measures the processor time of its process, and in one that has run fifty files
  // before, the collection of their garbage counts as well.
  workerIdleMemoryLimit: 0,
  // The last of them is still starting when nothing is left to do for it.
  workerGracefulExitTimeout: 10_000,
  reporters: ['default', '<rootDir>/test/support/runner/counts-reporter.mjs'],
  testSequencer: '<rootDir>/test/support/runner/by-project.mjs',
  collectCoverageFrom: ['sidecar/**/*.ts'],
};
