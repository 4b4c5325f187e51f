/**
 * Policies in a deterministic simulation with virtual time: `npm run bench:simulate`.
 *
 * The real balancer, table, reports, admission; simulated are only time, network and workers. So a change of a rule
 * in core is judged for a thousand workers within a minute, before it runs. One table: ratios to one central queue
 * with perfect knowledge on the same demands; beside them what full sight without delay reaches (sim/full-sight).
 *
 * Options: --scenarios a,b --policies a,b --utilisation 0.85 --requests 60000 --seed 1
 *   --entries 4 (of the scenarios of bench:balance, 1 to 8)
 */
import { parseArgs } from 'node:util';
import { idealTimesMs } from '../sim/central-queue.ts';
import { drawDemands } from '../sim/demand.ts';
import { fullSightTimesMs } from '../sim/full-sight.ts';
import { quantiles, ratioText } from '../sim/quantiles.ts';
import { runScenario, viewsOf, WARM_UP_SHARE } from '../sim/run-scenario.ts';
import { scenarios } from '../sim/scenarios.ts';
import type { SimPolicy } from '../sim/sim-entry.ts';

const POLICIES = 'adaptive,rank,least-load,p2c,round-robin,random,leastconn';

const { values } = parseArgs({
  options: {
    scenarios: { type: 'string' },
    policies: { type: 'string', default: POLICIES },
    utilisation: { type: 'string', default: '0.85' },
    requests: { type: 'string', default: '60000' },
    seed: { type: 'string', default: '1' },
    entries: { type: 'string', default: '4' },
  },
});
const seed = Number(values.seed);
const all = scenarios({
  utilisation: Number(values.utilisation),
  requests: Number(values.requests),
  entries: Number(values.entries),
});
const wanted = values.scenarios?.split(',') ?? all.map(({ name }) => name);

console.log(
  `${values.utilisation} busy, ${values.requests} requests, seed ${seed}; ratios to the central queue`,
);
console.log(
  row(['scenario', 'policy', 'p50', 'p90', 'p99', 'p99.9', 'failed', 'reroutes', 'moves', 'in vain']),
);
for (const scenario of all) {
  if (!wanted.includes(scenario.name)) continue;
  const demands = drawDemands({ ...scenario, seed });
  const counted = (times: Float64Array): Float64Array => times.slice(demands.length * WARM_UP_SHARE);
  const ideal = quantiles(counted(idealTimesMs(demands, scenario.workers)));
  const ratiosOf = (times: readonly number[] | Float64Array): string[] =>
    quantiles(times).map((ms, i) => ratioText(ms / (ideal[i] as number)));
  const idealText = ideal.map((ms) => `${ms.toFixed(ms < 100 ? 1 : 0)} ms`);
  console.log(`\n${scenario.name}: ${scenario.about}`);
  console.log(row(['', 'central queue', ...idealText, '', '']));
  const seen = fullSightTimesMs(demands, scenario.workers, viewsOf(scenario, seed));
  console.log(row(['', 'full sight', ...ratiosOf(counted(seen)), '', '']));
  for (const policy of values.policies.split(',') as SimPolicy[]) {
    const { timesMs, failed, reroutes, moves, vain } = runScenario(scenario, demands, policy, seed);
    console.log(
      row([
        '',
        policy,
        ...ratiosOf(timesMs),
        String(failed),
        percent(reroutes),
        percent(moves),
        percent(vain),
      ]),
    );
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function row([scenario = '', policy = '', ...figures]: readonly string[]): string {
  return `${scenario.padEnd(13)}${policy.padEnd(16)}${figures.map((text) => text.padStart(10)).join('')}`;
}
