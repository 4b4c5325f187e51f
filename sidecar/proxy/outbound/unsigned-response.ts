/**
 * Answers that the peer did not sign: of the tunnel's edge, of a peer that does not know us, or of a stranger.
 *
 * None of them reaches the app; what they say decides whether another way is tried.
 */
import { CODES, type Code } from '../../core/errors.ts';
import { first } from '../../core/http/headers.ts';
import type { RouteKind } from '../../core/peers/route.ts';
import type { Stage } from '../../core/retry.ts';
import type { Judgement } from '../../http/attempt-outcome.ts';
import type { IncomingHead } from '../../http/exchange.ts';
import { parseRefusal, REFUSAL_HEADER } from '../peer/refusal.ts';

interface Word {
  readonly code: Code;
  readonly stage: Stage;
  readonly detail: string;
  readonly isPathLost?: boolean;
}

/** Cloudflare: the tunnel has no connector, so nothing was delivered (error 1033). */
const TUNNEL_DOWN_STATUS = 530;

/** An edge's word on one request that is too large for it, or whose response began too late (Cloudflare: 524). */
const EDGE_LIMITS: Readonly<Record<number, Word>> = {
  413: {
    code: 'body_too_large',
    stage: 'not_sent',
    detail: 'the tunnel carries no body of this length (413 from its edge)',
  },
  524: {
    code: 'response_timeout',
    stage: 'sent',
    detail: 'no response within the time limit of the tunnel (524 from its edge)',
    isPathLost: true,
  },
};

export interface Unsigned {
  /** It is the edge's word on this one request; the tunnel itself is well. */
  readonly isEdge: boolean;
  readonly judgement: Extract<Judgement, { kind: 'refuse' }>;
}

export function judgeUnsigned(response: IncomingHead, kind: RouteKind): Unsigned {
  const { status } = response;
  const limit = kind === 'tunnel' ? EDGE_LIMITS[status] : undefined;
  if (limit !== undefined) return { isEdge: true, judgement: { kind: 'refuse', ...limit } };
  return { isEdge: false, judgement: { kind: 'refuse', ...wordOf(response, kind) } };
}

function wordOf({ status, fields }: IncomingHead, kind: RouteKind): Word {
  if (kind === 'tunnel' && status === TUNNEL_DOWN_STATUS) {
    return {
      code: 'connect_failed',
      stage: 'not_sent',
      detail: 'the tunnel has no connector (530): cloudflared does not run there',
    };
  }
  const isRefusal = parseRefusal(first(fields, REFUSAL_HEADER) ?? '') !== null;
  if (status === CODES.not_a_member.status && isRefusal) {
    const detail =
      'it takes us for no member: another mesh key, a certificate that has ended, or clocks apart';
    return { code: 'not_a_member', stage: 'not_sent', detail };
  }
  const who =
    kind === 'tunnel'
      ? "the tunnel's edge (does cloudflared there reach the sidecar?), or another host that has its name now"
      : 'another program that has its address now, or a sidecar with another mesh key';
  const detail = `answered with ${status}, not signed by the worker that was asked: this is ${who}`;
  return { code: 'upstream_protocol', stage: 'sent', detail };
}
