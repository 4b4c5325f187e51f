/**
 * The order of the files: quick projects first, and those that load the host alone with their like.
 *
 * Beside a test of processes that opens thousands of connections, one of loopback would measure that one.
 */
import Sequencer from '@jest/test-sequencer';

const ORDER = ['unit', 'property', 'integration', 'security', 'e2e'];

export default class ByProject extends Sequencer {
  /** Within a project as jest does: those first that failed or took long. */
  sort(tests) {
    const rank = ({ context }) => ORDER.indexOf(context.config.displayName.name);
    return [...super.sort(tests)].sort((a, b) => rank(a) - rank(b));
  }
}
