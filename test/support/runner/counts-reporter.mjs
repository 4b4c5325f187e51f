/** The last line of a run: `N passed, N failed, N skipped`; before it, each test that lacked something, and what. */
export default class CountsReporter {
  #isWatching;

  constructor({ watch, watchAll }) {
    this.#isWatching = watch || watchAll;
  }

  onRunComplete(_contexts, results) {
    const lacking = results.testResults
      .flatMap((file) => file.testResults)
      .filter(({ status, title }) => status === 'pending' && title.includes(' (skipped: '))
      .map(({ ancestorTitles, title }) => `${[...ancestorTitles, title].join(' › ')}\n`);
    // A file that cannot be loaded has no tests to count, and has failed all the same.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests === 0 ? '' : `, ${results.numPendingTests} skipped`;
    const text = `${lacking.join('')}${results.numPassedTests} passed, ${failed} failed${skipped}\n`;
    // Jest's own summary and the coverage table come after every other reporter.
    if (this.#isWatching) process.stderr.write(text);
    else process.once('exit', () => process.stderr.write(text));
  }
}
