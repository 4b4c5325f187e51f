/**
 * `dht-sidecar reload`: has the sidecar here read its configuration anew, and says what that changed.
 */
import { type CommandLine, loadOptions } from '../config/load.ts';
import { isConfigError } from '../config/problems.ts';
import { fields, items, textOf } from '../core/json.ts';
import { adminClient } from './admin-client.ts';
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './command.ts';

export const reload: Command = {
  help: `Usage: dht-sidecar reload [--json] [--admin host:port]

Has the sidecar here read its configuration file anew while requests run (as SIGUSR2 does). Services, calls, aliases, time
limits, the policy and the log level are taken over; what takes a restart is named. A configuration with mistakes
changes nothing (exit code 64).

  --json             the whole response as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const line = { own: { json: 'flag' }, maxPositionals: 0 } as const;
    const { values, own } = optionsOf(context, line);
    const { status, body } = await adminClient(values.admin.listen)('/reload', 'PUT');
    const said = fields(body);
    if (own.has('json')) context.out(`${JSON.stringify(body, null, 2)}\n`);
    const problems = items(said.problems).map(textOf);
    if (status !== 200) {
      context.err(`${textOf(said.detail)}\n${problems.map((problem) => `  ${problem}\n`).join('')}`);
      return problems.length > 0 ? EXIT_USAGE : EXIT_FAILED;
    }
    if (!own.has('json')) context.out(resultText(said));
    return EXIT_OK;
  },
};

/** The file may be broken just now, which the sidecar is to tell: then the rest says where it is asked. */
function optionsOf(context: CommandContext, line: CommandLine): ReturnType<typeof loadOptions> {
  try {
    return loadOptions(context, line);
  } catch (error) {
    if (!isConfigError(error) || context.env.SIDECAR_CONFIG === undefined) throw error;
    return loadOptions({ ...context, env: { ...context.env, SIDECAR_CONFIG: undefined } }, line);
  }
}

function resultText({
  services,
  applied,
  needs_restart: waiting,
}: Readonly<Record<string, unknown>>): string {
  const { added, removed, changed } = fields(services);
  const lines = [
    ['services added', added],
    ['services removed', removed],
    ['services changed', changed],
    ['taken over', applied],
    ['takes a restart', waiting],
  ].flatMap(([what, names]) => {
    const all = items(names).map(textOf);
    return all.length === 0 ? [] : [`${what}: ${all.join(', ')}\n`];
  });
  return lines.length === 0 ? 'Nothing has changed.\n' : lines.join('');
}
