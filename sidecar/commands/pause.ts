/**
 * `dht-sidecar pause [service]` and `dht-sidecar resume [service]`: the one who runs the worker takes it out for a while,
 * and brings it back.
 */
import { loadOptions } from '../config/load.ts';
import { fields, items, numberOf, textOf } from '../core/json.ts';
import { adminClient } from './admin-client.ts';
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from './command.ts';

const OPTIONS = `
  --json             the whole response as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`;

export const pause: Command = {
  help: `Usage: dht-sidecar pause [service] [--json] [--admin host:port]

Takes the worker here out for a while, with all of its services or with one: requests that run are finished, those that
wait and new ones go to other workers, which are told why. It stays so after a restart where there is a state.dir.
\`dht-sidecar resume\` ends it.
${OPTIONS}`,
  run: (context) => put(context, 'pause'),
};

export const resume: Command = {
  help: `Usage: dht-sidecar resume [service] [--json] [--admin host:port]

Brings back what \`dht-sidecar pause\` has taken out.
${OPTIONS}`,
  run: (context) => put(context, 'resume'),
};

async function put(context: CommandContext, what: 'pause' | 'resume'): Promise<number> {
  const { values, own, positionals } = loadOptions(context, { own: { json: 'flag' }, maxPositionals: 1 });
  const [service] = positionals;
  const query = service === undefined ? '' : `?service=${encodeURIComponent(service)}`;
  const { status, body } = await adminClient(values.admin.listen)(`/${what}${query}`, 'PUT');
  if (own.has('json')) context.out(`${JSON.stringify(body, null, 2)}\n`);
  if (status !== 200) {
    context.err(`The sidecar answered ${status}: ${textOf(fields(body).detail)}\n`);
    return EXIT_FAILED;
  }
  if (own.has('json')) return EXIT_OK;
  const services = items(fields(body).services).map(fields);
  if (services.length === 0) context.out('This worker offers no service.\n');
  for (const { service: name, paused, running } of services) {
    const left = numberOf(running) ?? 0;
    const rest = paused === true && left > 0 ? `, ${left} still running` : '';
    context.out(`${textOf(name)}: ${paused === true ? 'paused' : 'takes requests'}${rest}\n`);
  }
  const notKept = textOf(fields(body).not_kept);
  if (what === 'pause' && notKept !== '') context.err(`A restart forgets this: ${notKept}.\n`);
  return EXIT_OK;
}
