/**
 * `dht-sidecar doctor`: checks everything that commonly keeps requests from flowing, and says what to do.
 *
 * It goes on after a failure, as the one that matters is often not the first. Each check is a function of its own in
 * doctor-checks.ts; here is the order and the printing.
 */
import type { Config } from '../config/config.ts';
import { loadConfig, loadOptions } from '../config/load.ts';
import { isConfigError } from '../config/problems.ts';
import { adminClient } from './admin-client.ts';
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from './command.ts';
import {
  type Check,
  checkAdmin,
  checkCertificate,
  checkClocks,
  checkDht,
  checkPeers,
  checkRoutes,
} from './doctor-checks.ts';
import { checkBootstrap, checkWorkers } from './doctor-reach.ts';
import { cellText } from './table.ts';

const LINE = { own: { json: 'flag' }, maxPositionals: 0 } as const;

export const doctor: Command = {
  help: `Usage: dht-sidecar doctor [--json] [options of \`dht-sidecar run\`]

Checks the configuration, the workers, the bootstrap nodes of the DHT, the sidecar that runs here, its peers,
their routes and clocks. Each line is ok, warn or fail; below the last two is what to do. Run it with the
environment of the sidecar. Exit code 1 if anything fails.

  --json             as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const { config, checks, isJson } = readConfig(context);
    if (config !== null)
      checks.push(...(await checkWorkers(config)), ...(await checkBootstrap(config, context.nowMs())));
    const ask = adminClient(adminAddress(context));
    const alive = await checkAdmin(ask);
    checks.push(alive);
    if (alive.result !== 'fail') {
      checks.push(
        ...(await checkDht(ask)),
        ...(await checkCertificate(ask)),
        await checkPeers(ask),
        ...(await checkRoutes(ask)),
        ...(await checkClocks(ask, context.nowMs() / 1000)),
      );
    }
    const isOk = checks.every((check) => check.result !== 'fail');
    context.out(isJson ? `${JSON.stringify({ ok: isOk, checks }, null, 2)}\n` : report(checks));
    return isOk ? EXIT_OK : EXIT_FAILED;
  },
};

function readConfig(context: CommandContext): { config: Config | null; checks: Check[]; isJson: boolean } {
  try {
    const { config, own } = loadConfig(context, 'sidecar', LINE);
    const checks: Check[] = [{ name: 'configuration', result: 'ok', detail: 'valid', advice: null }];
    for (const warning of config.warnings) {
      checks.push({
        name: 'configuration',
        result: 'warn',
        detail: warning,
        advice: 'Intended? Then nothing to do.',
      });
    }
    return { config, checks, isJson: own.has('json') };
  } catch (error) {
    if (!isConfigError(error)) throw error;
    const checks = error.problems.map(
      (problem): Check => ({
        name: 'configuration',
        result: 'fail',
        detail: problem,
        advice: 'Correct it; the sidecar does not start with it. Is this the environment of the sidecar?',
      }),
    );
    return { config: null, checks, isJson: context.args.includes('--json') };
  }
}

/** Also with a configuration that is wrong elsewhere. */
function adminAddress(context: CommandContext): Config['admin']['listen'] {
  try {
    return loadOptions(context, LINE).values.admin.listen;
  } catch (error) {
    if (!isConfigError(error)) throw error;
    return loadOptions({ ...context, args: [], env: {} }, LINE).values.admin.listen;
  }
}

function report(checks: readonly Check[]): string {
  const width = Math.max(...checks.map((check) => check.name.length));
  return checks
    .map((check) => {
      const line = `${check.result.padEnd(4)}  ${check.name.padEnd(width)}  ${cellText(check.detail)}\n`;
      return check.advice === null || check.result === 'ok'
        ? line
        : `${line}      ${' '.repeat(width)}  → ${cellText(check.advice)}\n`;
    })
    .join('');
}
