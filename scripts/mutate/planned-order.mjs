/** The order of the files is the one of the plan: those first that are most likely to fail, and quick. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import Sequencer from '@jest/test-sequencer';

const ORDER = Object.keys(JSON.parse(readFileSync(process.env.MUTATE_PLAN, 'utf8')).files);

export default class PlannedOrder extends Sequencer {
  sort(tests) {
    const rank = ({ path, context }) => ORDER.indexOf(relative(context.config.rootDir, path));
    return [...tests].sort((a, b) => rank(a) - rank(b));
  }
}
