/** A figure that a test has measured, for whoever reads the run: one line beside the results. */
import { expect } from '@jest/globals';

export function note(text: string): void {
  process.stderr.write(`# ${expect.getState().currentTestName}: ${text}\n`);
}
