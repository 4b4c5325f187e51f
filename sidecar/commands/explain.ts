/**
 * `dht-sidecar explain`: whom the sidecar here would choose now, and why not the others; or what became of a request.
 *
 * A view of `/explain`; the reasons are those of the balancer itself.
 */
import { loadOptions } from '../config/load.ts';
import { ConfigError } from '../config/problems.ts';
import { fields, items, numberOf, textOf } from '../core/json.ts';
import { nearestWord } from '../core/nearest-word.ts';
import { adminClient } from './admin-client.ts';
import { type Command, EXIT_FAILED, EXIT_OK } from './command.ts';
import { requestStory } from './request-story.ts';
import { ageText, cellText, millisText, table } from './table.ts';

export const explain: Command = {
  help: `Usage: dht-sidecar explain <service> [--require TERMS] [--prefer TERMS] [--json] [--admin host:port]
       dht-sidecar explain --request ID [--json] [--admin host:port]

Shows which peer would be chosen for a service now (a dry run), with every candidate and the reasons; or how
one of the last 1,000 requests was routed (ID: the header sidecar-request-id of its response).

  --require TERMS    as by sidecar-require: "gpu_type=RTX 4090|A100, vram_gb>=24"
  --prefer TERMS     as by sidecar-prefer
  --json             the whole response as JSON
  --admin host:port  where the sidecar's admin port is (default SIDECAR_ADMIN, or 127.0.0.1:9464)
`,

  async run(context) {
    const { values, own, positionals } = loadOptions(context, {
      own: { json: 'flag', request: 'value', require: 'value', prefer: 'value' },
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
        : `service=${encodeURIComponent(service)}${wish(own, 'require')}${wish(own, 'prefer')}`;
    const { status, body } = await adminClient(values.admin.listen)(`/explain?${query}`);
    if (own.has('json')) context.out(`${JSON.stringify(body, null, 2)}\n`);
    if (status !== 200) {
      const detail = textOf(fields(body).detail);
      context.err(`${detail === '' ? `The sidecar answered ${status}.` : cellText(detail)}\n`);
      return EXIT_FAILED;
    }
    if (!own.has('json'))
      context.out(service === undefined ? requestStory(fields(body)) : explanation(fields(body)));
    return EXIT_OK;
  },
};

/** A parameter of the question; '' when it was not given. */
function wish(own: ReadonlyMap<string, unknown>, name: 'require' | 'prefer'): string {
  const terms = own.get(name);
  return terms === undefined ? '' : `&${name}=${encodeURIComponent(String(terms))}`;
}

function explanation(body: Readonly<Record<string, unknown>>): string {
  const next = fields(body.chosenNext);
  const chosen = textOf(body.chosen);
  const lines = [`service  ${cellText(textOf(body.service))}`, `policy   ${cellText(textOf(body.policy))}`];
  lines.push(
    chosen === '' ? `chosen   nobody: ${cellText(textOf(body.refusal))}` : `chosen   ${cellText(chosen)}`,
  );
  if (textOf(next.worker_id) !== '') {
    lines.push(
      `else     ${cellText(textOf(next.worker_id))} (${millisText(numberOf(next.expected_ms_margin))} later expected)`,
    );
  }
  const rows = items(body.candidates).map(fields).map(candidateRow);
  if (rows.length === 0) return `${[...lines, ...nobodyLines(body)].join('\n')}\n`;
  return `${lines.join('\n')}\n\n${table(
    ['WORKER', 'STATE', 'LOAD', 'REQUESTS', 'SLOTS', 'EXPECTED', 'REPORT', 'ROUTES', 'WHY NOT'],
    rows,
  )}`;
}

/** What is known when nobody offers it. */
function nobodyLines(body: Readonly<Record<string, unknown>>): string[] {
  const lines: string[] = [];
  const known = items(body.known_services)
    .map(textOf)
    .filter((name) => name !== '');
  const service = textOf(body.service);
  const near = nearestWord(
    service,
    known.filter((name) => name !== service),
  );
  if (near !== null) lines.push(`perhaps  ${cellText(near)} is meant`);
  if (known.length > 0) lines.push(`known    ${known.map(cellText).join(' ')}`);
  for (const { peer, reason } of items(body.absent).map(fields))
    lines.push(`absent   ${cellText(textOf(peer))}: ${cellText(textOf(reason))}`);
  const local = fields(body.local);
  if (textOf(local.state) !== '')
    lines.push(`here     ${cellText(textOf(local.state))}: ${cellText(textOf(local.reason))}`);
  if (textOf(local.passed_over) !== '') lines.push(`         ${cellText(textOf(local.passed_over))}`);
  const hint = textOf(fields(body.dht).hint);
  if (hint !== '') lines.push(`DHT      ${cellText(hint)}`);
  return lines;
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
    numberOf(score.expected_ms) === null ? null : millisText(numberOf(score.expected_ms)),
    age === null ? null : `${textOf(reported.source)} ${ageText(age / 1000)}`,
    items(candidate.routes)
      .map(fields)
      .map((route) => `${textOf(route.kind)}:${textOf(route.state)}`)
      .join(' '),
    textOf(candidate.because) || textOf(candidate.why_not),
  ];
}
