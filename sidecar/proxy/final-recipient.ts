/**
 * Requests that a sidecar answers itself because they may be forwarded no further: OPTIONS and TRACE whose Max-Forwards
 * has reached zero (RFC 9110 §7.6.2).
 *
 * Used by both listeners, each a hop of its own.
 */
import type { Code } from '../core/errors.ts';
import { hopsOf, traceContent } from '../core/forwarding/max-forwards.ts';
import type { RequestHead } from '../core/http/message.ts';
import type { LocalReply } from '../http/local-reply.ts';

export type FinalRecipient =
  | { readonly kind: 'forward' }
  | { readonly kind: 'reply'; readonly reply: LocalReply }
  | { readonly kind: 'refuse'; readonly code: Code; readonly detail: string };

const FORWARD: FinalRecipient = { kind: 'forward' };

/** What becomes of a request as far as its method and Max-Forwards say. */
export function finalRecipient(head: RequestHead): FinalRecipient {
  const { method, framing } = head;
  if (method !== 'OPTIONS' && method !== 'TRACE') return FORWARD;
  // No client may send it (§9.3.8); whoever echoes it as well would answer with words of somebody else's choice.
  if (method === 'TRACE' && framing.kind !== 'none' && !(framing.kind === 'length' && framing.bytes === 0))
    return { kind: 'refuse', code: 'bad_request', detail: 'a TRACE with content' };
  const hops = hopsOf(method, head.fields);
  if (hops.kind === 'bad') {
    return { kind: 'refuse', code: 'bad_request', detail: 'a Max-Forwards that is not one number' };
  }
  if (hops.kind === 'unlimited' || hops.count > 0) return FORWARD;
  const [fields, body] =
    method === 'TRACE' ? [['Content-Type', 'message/http'], traceContent(head)] : [[], Buffer.alloc(0)];
  return { kind: 'reply', reply: { status: 200, reason: 'OK', fields, body } };
}
