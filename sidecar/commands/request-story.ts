/**
 * What became of one request, as text: what was asked, who answered or why nobody did, attempt by attempt.
 *
 * A view of `/explain?request=ID` in the order in which an operator asks: the end first, then how it came to it.
 */
import { fields, items, numberOf, textOf } from '../core/json.ts';
import { cellText, millisText, table } from './table.ts';

type Json = Readonly<Record<string, unknown>>;

const OUTCOMES: Readonly<Record<string, string>> = {
  client_gone: 'the client left',
  broken: 'broke off',
};

export function requestStory(body: Json): string {
  const receivedS = numberOf(body.received_at);
  const lines: [string, string][] = [
    ['request', textOf(body.request_id)],
    ['received', receivedS === null ? '-' : timeText(receivedS * 1000)],
    ['asked', `${textOf(body.method)} of ${textOf(body.service) || 'no service'}`],
    ['answer', answerText(body)],
  ];
  if (textOf(body.app) !== '') lines.splice(3, 0, ['app', textOf(body.app)]);
  if (textOf(body.detail) !== '') lines.push(['cause', textOf(body.detail)]);
  if (textOf(body.advice) !== '') lines.push(['to do', textOf(body.advice)]);
  const bound = fields(body.bound);
  if (textOf(bound.because) !== '') lines.push(['bound', boundText(bound)]);
  lines.push(['view', viewText(body)]);
  const parts = [lines.map(([name, text]) => `${name.padEnd(10)}${cellText(text)}\n`).join('')];
  const attempts = items(body.failed_attempts).map(fields);
  if (attempts.length > 0) {
    parts.push(
      `Attempts that failed:\n${table(
        ['AT', 'TOOK', 'WORKER', 'ROUTE', 'ADDRESS', 'CODE', 'STAGE', 'REASON'],
        attempts.map(attemptRow),
      )}`,
    );
  }
  const notAsked = items(body.not_asked).map(fields);
  if (notAsked.length > 0) {
    const rows = notAsked.map(({ peer, reason }) => [textOf(peer), textOf(reason)]);
    parts.push(`Not asked:\n${table(['WORKER', 'WHY'], rows)}`);
  }
  return parts.join('\n');
}

function answerText(body: Json): string {
  const status = numberOf(body.status);
  const code = textOf(body.code);
  const worker = textOf(body.worker);
  const outcome = OUTCOMES[textOf(body.outcome)];
  const parts = [String(status ?? ''), code, outcome ?? ''].filter((part) => part !== '');
  const isGone = textOf(body.outcome) === 'client_gone';
  if (worker !== '')
    parts.push(`${isGone ? 'while it was at' : 'by'} ${worker}, route ${textOf(body.route)}`);
  else parts.push(isGone ? 'before a worker was asked' : 'by this sidecar');
  const firstMs = numberOf(body.first_byte_ms);
  const first = firstMs === null ? '' : `, first byte after ${millisText(firstMs)}`;
  return `${parts.join(' ')}, after ${millisText(numberOf(body.duration_ms))}${first}`;
}

/** Which worker it was for. */
function boundText(bound: Json): string {
  const worker = textOf(bound.worker_id);
  return `${worker === '' ? 'to no worker' : `to ${worker}`}: ${textOf(bound.because)}`;
}

function viewText(body: Json): string {
  const ageMs = numberOf(body.view_age_ms);
  const age = ageMs === null ? '' : `, ${millisText(ageMs)} old`;
  switch (textOf(body.view)) {
    case 'hit':
      return `of the cache${age}`;
    case 'wait':
      return `waited for a lookup${age}`;
    case 'local':
      return 'not needed: the worker here offers it';
    default:
      return 'not needed';
  }
}

function attemptRow(attempt: Json): (string | null)[] {
  return [
    textOf(attempt.at) || `+${millisText(numberOf(attempt.at_ms))}`,
    millisText(numberOf(attempt.took_ms)),
    textOf(attempt.peer),
    textOf(attempt.route),
    textOf(attempt.address),
    textOf(attempt.code),
    textOf(attempt.stage),
    textOf(attempt.reason),
  ];
}

/** What comes over the wire may be no time at all. */
function timeText(unixMs: number): string {
  const date = new Date(unixMs);
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString();
}
