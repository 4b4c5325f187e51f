/**
 * `dht-sidecar stats`: the counters of the sidecar here.
 *
 * A view of `/stats`.
 */
import { loadOptions } from '../config/load.ts';
import { fields, numberOf } from '../core/json.ts';
import { adminClient } from './admin-client.ts';
import { type Command, EXIT_FAILED, EXIT_OK } from './command.ts';
import { table } from './table.ts';

export const stats: Command = {
  help: `Usage: dht-sidecar stats [--json] [--admin host:port]

Shows the counters of the sidecar here since its start.

  --json             as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const { values, own } = loadOptions(context, { own: { json: 'flag' }, maxPositionals: 0 });
    const { status, body } = await adminClient(values.admin.listen)('/stats');
    if (own.has('json')) context.out(`${JSON.stringify(body, null, 2)}\n`);
    if (status !== 200) {
      context.err(`The sidecar answered ${status}.\n`);
      return EXIT_FAILED;
    }
    if (!own.has('json')) {
      const rows = Object.entries(fields(body)).map(([name, value]) => [
        name.replaceAll('_', ' '),
        name === 'cache_hit_rate'
          ? `${((numberOf(value) ?? 0) * 100).toFixed(1)} %`
          : String(numberOf(value) ?? '-'),
      ]);
      context.out(table(['COUNTER', 'VALUE'], rows));
    }
    return EXIT_OK;
  },
};
