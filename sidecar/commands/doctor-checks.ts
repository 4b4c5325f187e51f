/**
 * What `doctor` concludes from the responses of the admin port.
 *
 * Each check asks one path and judges one thing, so that a missing or odd answer spoils that check alone. Limits are
 * those of the program: records in the DHT allow for clocks 15 min apart.
 */
import { fields, items, numberOf, textOf } from '../core/json.ts';
import type { AskAdmin } from './admin-client.ts';

export interface Check {
  readonly name: string;
  readonly result: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  /** What to do; null where nothing is to be done. */
  readonly advice: string | null;
}

type Peer = Readonly<Record<string, unknown>>;

const SKEW_FAIL_S = 900;
const SKEW_WARN_S = 5;

function failure(name: string, error: unknown): Check {
  const detail = error instanceof Error ? error.message : 'no response';
  return { name, result: 'fail', detail, advice: 'Is the sidecar running, and is this its admin port?' };
}

export async function checkAdmin(ask: AskAdmin): Promise<Check> {
  const name = 'admin port';
  try {
    const { status, body } = await ask('/livez');
    if (status !== 200) return failure(name, new Error(`/livez answered ${status}`));
    const id = textOf(fields(body).worker_id);
    return { name, result: 'ok', detail: id === '' ? 'answers' : `${id} answers`, advice: null };
  } catch (error) {
    return failure(name, error);
  }
}

function checkNameOf(code: string): string {
  if (code.startsWith('dht')) return 'DHT';
  return code.startsWith('certificate') ? 'certificate' : 'readiness';
}

/** The readiness of the sidecar, reason by reason: it knows best what is wrong with its discovery. */
export async function checkDht(ask: AskAdmin): Promise<readonly Check[]> {
  const name = 'DHT';
  try {
    const readiness = fields((await ask('/readyz')).body);
    const dht = fields(readiness.dht);
    const state = textOf(dht.status);
    const reasons = items(readiness.reasons).map(fields);
    const nodes = numberOf(dht.nodes) ?? 0;
    const checks: Check[] = reasons.map((reason) => ({
      name: checkNameOf(textOf(reason.code)),
      result: readiness.ready === true ? 'warn' : 'fail',
      detail: textOf(reason.detail),
      advice: textOf(reason.hint) || null,
    }));
    if (state === 'connected') {
      checks.unshift({ name, result: 'ok', detail: `connected, ${nodes} other nodes known`, advice: null });
    } else if (checks.length === 0) {
      checks.push({
        name,
        result: 'warn',
        detail: `is ${state || 'in an unknown state'}`,
        advice: 'See /readyz.',
      });
    }
    return checks;
  } catch (error) {
    return [failure(name, error)];
  }
}

/** How long the own certificate holds; nothing where one of the reasons of readiness says it. */
export async function checkCertificate(ask: AskAdmin): Promise<readonly Check[]> {
  const name = 'certificate';
  try {
    const readiness = fields((await ask('/readyz')).body);
    const daysLeft = numberOf(fields(readiness.certificate).days_left);
    const isSaid = items(readiness.reasons).some((reason) =>
      textOf(fields(reason).code).startsWith('certificate'),
    );
    if (daysLeft === null || isSaid) return [];
    return [{ name, result: 'ok', detail: `holds for ${daysLeft.toFixed(1)} days`, advice: null }];
  } catch (error) {
    return [failure(name, error)];
  }
}

async function peersOf(ask: AskAdmin): Promise<readonly Peer[]> {
  return items(fields((await ask('/peers')).body).peers).map(fields);
}

export async function checkPeers(ask: AskAdmin): Promise<Check> {
  const name = 'peers';
  try {
    const found = await peersOf(ask);
    const ready = found.filter((peer) => peer.state === 'ready').length;
    if (found.length === 0) {
      return {
        name,
        result: 'fail',
        detail: 'no peer is known',
        advice:
          'Peers are looked up when a service is first asked for; then see the DHT above, and whether others run with the same mesh key.',
      };
    }
    if (ready === 0) {
      return {
        name,
        result: 'fail',
        detail: `${found.length} known, none ready. ${whyNotReady(found)}`,
        advice: "See each worker's own log; `dht-sidecar doctor` on its host checks it from there.",
      };
    }
    return { name, result: 'ok', detail: `${found.length} known, ${ready} ready`, advice: null };
  } catch (error) {
    return failure(name, error);
  }
}

const MAX_NAMED = 8;

function whyNotReady(found: readonly Peer[]): string {
  const told = found
    .slice(0, MAX_NAMED)
    .map((peer) => `${textOf(peer.worker_id)}: ${textOf(peer.why_not_ready) || textOf(peer.state)}`);
  const more = found.length > MAX_NAMED ? [`and ${found.length - MAX_NAMED} more`] : [];
  return [...told, ...more].join('; ');
}

/** One line for all that are well, one for each that is not. */
export async function checkRoutes(ask: AskAdmin): Promise<readonly Check[]> {
  const name = 'routes';
  try {
    const found = await peersOf(ask);
    const checks: Check[] = [];
    for (const peer of found) {
      const routes = items(peer.routes).map(fields);
      const up = routes.filter((route) => route.state === 'up');
      const down = routes.filter((route) => route.state !== 'up');
      const downText = down
        .map((route) => `${textOf(route.kind)} ${textOf(route.address)} is ${stateText(route)}`)
        .join(', ');
      const who = textOf(peer.worker_id);
      if (up.length === 0) {
        const detail =
          routes.length === 0
            ? `${who} has no route: neither a VPN address nor a tunnel`
            : `${who}: ${downText}`;
        checks.push({ name, result: 'fail', detail, advice: routeAdvice(down) });
      } else if (down.length > 0) {
        checks.push({
          name,
          result: 'warn',
          detail: `${who}: ${downText}; ${textOf(up[0]?.kind)} is used`,
          advice: routeAdvice(down),
        });
      }
    }
    const well = found.length - checks.length;
    return well === 0
      ? checks
      : [
          { name, result: 'ok', detail: `${well} of ${found.length} peers on all routes`, advice: null },
          ...checks,
        ];
  } catch (error) {
    return [failure(name, error)];
  }
}

/** A trial that runs does not make it better. */
function stateText(route: Peer): string {
  const state = textOf(route.state) === 'probing' ? 'down, and being tried' : textOf(route.state);
  const why = textOf(route.last_fault);
  return why === '' ? state : `${state} (${why})`;
}

function routeAdvice(down: readonly Peer[]): string {
  return down.some((route) => route.kind === 'vpn')
    ? 'Is the VPN up on both sides, and does its firewall let TCP to that port through?'
    : 'Give that worker a VPN address or a tunnel URL, or see whether its tunnel runs.';
}

/** Its responses tell the time of a peer; until one has come, the date of its record does, if that is in the future. */
export async function checkClocks(ask: AskAdmin, nowS: number): Promise<readonly Check[]> {
  const name = 'clocks';
  try {
    const found = await peersOf(ask);
    const checks: Check[] = [];
    for (const peer of found) {
      const offsetS = numberOf(peer.clock_offset_s) ?? Math.max(0, (numberOf(peer.last_seen) ?? nowS) - nowS);
      const apartS = Math.round(Math.abs(offsetS));
      if (apartS <= SKEW_WARN_S) continue;
      checks.push({
        name,
        result: apartS > SKEW_FAIL_S ? 'fail' : 'warn',
        detail: `${textOf(peer.worker_id)} is ${apartS} s ${offsetS > 0 ? 'ahead of' : 'behind'} this host`,
        advice: `Set both clocks by NTP. Requests still flow: each is signed by the clock of its receiver.${
          apartS > SKEW_FAIL_S ? ' But records in the DHT are refused by now.' : ''
        }`,
      });
    }
    if (found.length > checks.length) {
      const well = found.length - checks.length;
      const detail = `${well} of ${found.length} peers within ${SKEW_WARN_S} s of this host`;
      checks.unshift({ name, result: 'ok', detail, advice: null });
    }
    return checks;
  } catch (error) {
    return [failure(name, error)];
  }
}
