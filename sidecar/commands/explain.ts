/**
 * `dht-sidecar explain <service>`: whom the sidecar here would choose now, and why not the others.
 *
 * A view of `/explain`; the reasons are those of the balancer itself. It must not score anything.
 */
import { loadOptions } from '../config/load.ts';
import { ConfigError } from '../config/problems.ts';
import { adminClient, fields, items, numberOf, textOf } from './admin-client.ts';
import { type Command, EXIT_FAILED, EXIT_OK } from './command.ts';
import { ageText, cellText, table } from './table.ts';

export const explain: Command = {
  help: `Usage: dht-sidecar explain <service> [--json] [--admin host:port]
       dht-sidecar explain --request ID [--json] [--admin host:port]

Shows which peer would be chosen for a service now (a dry run), with every candidate and the reasons; or how
one of the last 1,000 requests was routed (ID: the header sidecar-request-id of its response).

  --json             the whole answer as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const { values, own, positionals } = loadOptions(context, {
      own: { json: 'flag', request: 'value' },
      maxPositionals: 1,
    });
    const service = positionals[0];
    const request = own.get('request');
    if ((service === undefined) === (request === undefined)) {
      throw new ConfigError(['explain: give the name of a service, or --request ID']);
    }
    const query =
      service === undefined
        ? `request=${encodeURIComponent(String(request))}`
        : `service=${encodeURIComponent(service)}`;
    const { status, body } = await adminClient(values.admin.listen)(`/explain?${query}`);
    if (own.has('json')) context.out(`${JSON.stringify(body, null, 2)}\n`);
    if (status !== 200) {
      context.err(`${cellText(textOf(fields(body).detail)) || `The sidecar answered ${status}`}\n`);
      return EXIT_FAILED;
    }
    // A request's story has no fixed columns.
    if (!own.has('json'))
      context.out(service === undefined ? `${JSON.stringify(body, null, 2)}\n` : explanation(fields(body)));
    return EXIT_OK;
  },
};

function explanation(body: Readonly<Record<string, unknown>>): string {
  const next = fields(body.chosenNext);
  const chosen = textOf(body.chosen);
  const lines = [`service  ${cellText(textOf(body.service))}`, `policy   ${cellText(textOf(body.policy))}`];
  lines.push(
    chosen === '' ? `chosen   nobody: ${cellText(textOf(body.refusal))}` : `chosen   ${cellText(chosen)}`,
  );
  if (textOf(next.worker_id) !== '') {
    lines.push(
      `else     ${cellText(textOf(next.worker_id))} (${millis(next.expected_ms_margin)} later expected)`,
    );
  }
  const rows = items(body.candidates).map(fields).map(candidateRow);
  if (rows.length === 0) return `${lines.join('\n')}\n`;
  return `${lines.join('\n')}\n\n${table(
    ['WORKER', 'STATE', 'LOAD', 'REQUESTS', 'SLOTS', 'EXPECTED', 'REPORT', 'ROUTES', 'WHY NOT'],
    rows,
  )}`;
}

function candidateRow(candidate: Readonly<Record<string, unknown>>): (string | number | null)[] {
  const score = fields(candidate.score);
  const reported = fields(candidate.reported);
  const age = numberOf(reported.age_ms);
  return [
    textOf(candidate.worker_id),
    [candidate.state, candidate.presence, candidate.health]
      .map(textOf)
      .filter((word) => word !== '')
      .join('/'),
    (numberOf(score.live_load) ?? numberOf(reported.load))?.toFixed(2) ?? null,
    numberOf(score.requests) === null ? null : Number(numberOf(score.requests)?.toFixed(1)),
    numberOf(score.slots),
    numberOf(score.expected_ms) === null ? null : millis(score.expected_ms),
    age === null ? null : `${textOf(reported.source)} ${ageText(age / 1000)}`,
    items(candidate.routes)
      .map(fields)
      .map((route) => `${textOf(route.kind)}:${textOf(route.state)}`)
      .join(' '),
    textOf(candidate.why_not),
  ];
}

function millis(value: unknown): string {
  const ms = numberOf(value);
  return ms === null ? '-' : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
