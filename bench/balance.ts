/**
 * Who gives the shortest tail: `npm run bench:balance`. Sidecars, HAProxy and nginx before the same sleeping workers.
 *
 * Four entries each, which share nothing, as each app has its own; uneven workers, heavy-tailed work carried by the
 * request. One table: p50 to p99.9 as ratios to one central queue with perfect knowledge, computed from the same
 * arrivals. One after the other: together they measure how many processes the machine can run; but those joined by `+`
 * at the same time, each with workers of its own, where time is short. At the end one table in Markdown.
 *
 * Options: --scenarios uneven,even,slowed,dies,burst,three,refuses,mixed (or all) --utilisation 0.5,0.7,0.85,0.95 --seconds 35
 *   --work-ms 400 --seed 1
 *   --systems "sidecars adaptive,sidecars p2c,haproxy leastconn+nginx least_conn,haproxy tuned,…"
 */
import { parseArgs } from 'node:util';
import { POLICY_NAMES } from '../sidecar/core/balancing/balancer.ts';
import { idealTimesMs } from '../sim/central-queue.ts';
import { type Demand, drawDemands } from '../sim/demand.ts';
import { quantiles, ratioText } from '../sim/quantiles.ts';
import { sendAll } from './balance/load.ts';
import { type Pool, startPool } from './balance/pool.ts';
import { PROXY_KINDS, startProxy } from './balance/proxies.ts';
import { type BalanceScenario, balanceScenarios, ENTRIES } from './balance/scenarios.ts';
import { startSidecars } from './balance/sidecars.ts';
import type { System } from './balance/system.ts';
import { type Row, summary, type Verdict, verdictOf, verdictText } from './balance/verdict.ts';

const SYSTEMS = 'sidecars adaptive,haproxy leastconn,haproxy random(2),nginx least_conn,nginx random two';
const SIDECARS = 'sidecars ';
const WARM_UP_SHARE = 0.15;
const P99 = 2;

const { values } = parseArgs({
  options: {
    scenarios: { type: 'string', default: 'uneven' },
    utilisation: { type: 'string', default: '0.85' },
    seconds: { type: 'string', default: '35' },
    'work-ms': { type: 'string', default: '400' },
    seed: { type: 'string', default: '1' },
    systems: { type: 'string', default: SYSTEMS },
  },
});
const groups = values.systems.split(',').map((names) => names.split('+'));
for (const name of groups.flat()) {
  const known: string[] = [...POLICY_NAMES.map((policy) => SIDECARS + policy), ...PROXY_KINDS];
  if (known.includes(name)) continue;
  console.error(`--systems: there is no "${name}"; there are ${known.join(', ')}`);
  process.exit(64);
}
const verdicts: Verdict[] = [];
const seconds = Number(values.seconds);
const warmUpMs = WARM_UP_SHARE * seconds * 1000;

async function start(name: string, scenario: BalanceScenario): Promise<{ pool: Pool; system: System }> {
  const { refusing = [], toldSlots = [] } = scenario;
  const pool = await startPool(
    scenario.workers.map(({ slots, speed }, i) => ({ slots, speed, refuses: refusing[i] === true })),
  );
  const backends = scenario.workers.map(({ slots, speed }, i) => ({
    slots: toldSlots[i] ?? slots,
    speed,
    port: pool.ports[i] as number,
  }));
  const kind = PROXY_KINDS.find((each) => each === name);
  const system =
    kind === undefined
      ? await startSidecars(name.slice(SIDECARS.length), backends, ENTRIES)
      : await startProxy(kind, backends, ENTRIES);
  return { pool, system };
}

/** Quantiles of what counts, in ms. */
function idealOf(demands: readonly Demand[], { workers }: BalanceScenario): number[] {
  return quantiles([...idealTimesMs(demands, workers)].filter((_, i) => isCounted(demands[i])));
}

/** After the warm-up; cheap calls are there to disturb. */
function isCounted(demand: Demand | undefined): boolean {
  return demand !== undefined && demand.atMs >= warmUpMs && demand.isCheap !== true;
}

/** These systems at the same time. */
async function measure(systems: readonly string[], scenario: BalanceScenario): Promise<Row[]> {
  const demands = drawDemands({ ...scenario, seed: Number(values.seed) });
  const ideal = idealOf(demands, scenario);
  const started: { pool: Pool; system: System }[] = [];
  try {
    for (const name of systems) started.push(await start(name, scenario));
    const { mishap } = scenario;
    const timer = setTimeout(() => {
      if (mishap === null) return;
      for (const { pool, system } of started) void Promise.all([pool.befall(mishap), system.befall(mishap)]);
    }, seconds * 500);
    const results = await sendAll(
      started.map(({ system }) => system.entries),
      demands,
      warmUpMs,
    );
    clearTimeout(timer);
    return await Promise.all(
      results.map(async ({ timesMs, errors, why, lateMs }, i) => ({
        name: systems[i] as string,
        ratios: quantiles(timesMs).map((ms, at) => ms / (ideal[at] as number)),
        errors,
        why: [...why].map(([what, count]) => `${what}: ${count}`).join(', '),
        notes: [
          `sent ${(quantiles(lateMs)[P99] ?? 0).toFixed(0)} ms late at p99`,
          await started[i]?.system.notes(),
        ]
          .filter(Boolean)
          .join('; '),
      })),
    );
  } finally {
    for (const { pool, system } of started) await Promise.all([system.stop(), pool.stop()]);
  }
}

for (const utilisation of values.utilisation.split(',').map(Number)) {
  const all = balanceScenarios({ utilisation, seconds, meanWorkMs: Number(values['work-ms']) });
  for (const scenario of all) {
    if (values.scenarios !== 'all' && !values.scenarios.split(',').includes(scenario.name)) continue;
    const demands = drawDemands({ ...scenario, seed: Number(values.seed) });
    const ideal = idealOf(demands, scenario);
    console.log(
      `\n${scenario.name}, ${100 * utilisation} % busy: ${scenario.about}; ${scenario.requests} requests`,
    );
    console.log(line(['', 'p50', 'p90', 'p99', 'p99.9', 'errors']));
    console.log(line(['central queue', ...ideal.map((ms) => `${ms.toFixed(0)} ms`), '0']));
    const rows: Row[] = [];
    for (const group of groups) rows.push(...(await measure(group, scenario)));
    for (const row of rows) {
      console.log(line([row.name, ...row.ratios.map(ratioText), String(row.errors), row.why]));
    }
    for (const { name, notes } of rows) console.log(`  ${name}: ${notes}`);
    const verdict = verdictOf(scenario.name, `${100 * utilisation} %`, ideal[P99] ?? Number.NaN, rows);
    if (verdict === null) continue;
    console.log(`  ${verdictText(verdict)}`);
    verdicts.push(verdict);
  }
}

console.log(`\n${summary(verdicts)}`);

function line([name = '', ...figures]: readonly string[]): string {
  return `${name.padEnd(22)}${figures.map((text) => text.padStart(9)).join('')}`.trimEnd();
}
