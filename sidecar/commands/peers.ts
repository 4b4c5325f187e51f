/**
 * `dht-sidecar peers [service]`: whom the sidecar here knows, and how fresh each fact is.
 *
 * A view of `/peers`, no opinion of its own.
 */
import { loadOptions } from '../config/load.ts';
import { fields, items, numberOf, textOf } from '../core/json.ts';
import { adminClient } from './admin-client.ts';
import { type Command, EXIT_FAILED, EXIT_OK } from './command.ts';
import { ageText, cellText, table } from './table.ts';

export const peers: Command = {
  help: `Usage: dht-sidecar peers [service] [--json] [--admin host:port]

Shows the peers that the sidecar here knows, or those that offer one service.

  --json             the whole response as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const { values, own, positionals } = loadOptions(context, { own: { json: 'flag' }, maxPositionals: 1 });
    const service = positionals[0];
    const query = service === undefined ? '' : `?service=${encodeURIComponent(service)}`;
    const answer = await adminClient(values.admin.listen)(`/peers${query}`);
    if (own.has('json')) context.out(`${JSON.stringify(answer.body, null, 2)}\n`);
    const found = items(fields(answer.body).peers).map(fields);
    if (answer.status !== 200) {
      context.err(`The sidecar answered ${answer.status}: ${textOf(fields(answer.body).detail)}\n`);
      return EXIT_FAILED;
    }
    if (!own.has('json')) {
      context.out(found.length === 0 ? nobody(service) : peerTable(found));
      context.out(revokedLines(items(fields(answer.body).revoked).map(fields)));
    }
    return EXIT_OK;
  },
};

function nobody(service: string | undefined): string {
  const whom = service === undefined ? 'No peers are known' : `No peer that offers ${service} is known`;
  return `${whom}. A service is looked up when it is first asked for; \`dht-sidecar doctor\` checks the rest.\n`;
}

function revokedLines(revoked: readonly Readonly<Record<string, unknown>>[]): string {
  const lines = revoked.map(
    ({ public_key: key, worker_id: id }) =>
      `revoked  ${cellText(textOf(key))}${textOf(id) === '' ? '' : ` (${cellText(textOf(id))})`}\n`,
  );
  return lines.length === 0 ? '' : `\n${lines.join('')}`;
}

function peerTable(found: readonly Readonly<Record<string, unknown>>[]): string {
  const rows = found.map((peer) => {
    const figures = Object.values(fields(peer.figures)).map(fields);
    const running = figures.reduce((sum, one) => sum + (numberOf(one.in_flight) ?? 0), 0);
    const queued = figures.reduce((sum, one) => sum + (numberOf(one.queued) ?? 0), 0);
    return [
      textOf(peer.worker_id),
      textOf(peer.state),
      numberOf(peer.load)?.toFixed(2),
      figures.length === 0 ? null : running,
      figures.length === 0 ? null : queued,
      ageText(numberOf(peer.age_s)),
      items(peer.routes)
        .map(fields)
        .map((route) => `${textOf(route.kind)}:${textOf(route.state)}`)
        .join(' '),
      items(peer.services).map(textOf).join(' '),
    ];
  });
  const head = ['WORKER', 'STATE', 'LOAD', 'RUNNING', 'QUEUED', 'HEARD', 'ROUTES', 'SERVICES'];
  const reasons = found
    .filter(({ why_not_ready: why }) => textOf(why) !== '')
    .map((peer) => `${cellText(textOf(peer.worker_id))}: ${cellText(textOf(peer.why_not_ready))}\n`);
  return `${table(head, rows)}${reasons.length === 0 ? '' : `\n${reasons.join('')}`}`;
}
