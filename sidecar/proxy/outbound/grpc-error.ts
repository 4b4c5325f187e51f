/**
 * A failure in the form that gRPC clients read: "Trailers-Only", a status and a message in the fields, no body.
 *
 * Only for apps: between sidecars a refusal stays what it is for everyone. It must not decide which code it is.
 */
import { CODES, type Code } from '../../core/errors.ts';
import { grpcMessage, grpcStatus, isGrpc } from '../../core/http/grpc.ts';
import { without } from '../../core/http/headers.ts';
import type { Downstream } from '../../http/exchange.ts';
import type { LocalReply } from '../../http/local-reply.ts';

/** Clients take 8 KiB of fields in all; of the longest text, that of who was not asked, the beginning says most. */
const MAX_MESSAGE_CHARS = 800;

/** The response, or the same one for gRPC if that is what the client speaks. */
export function inFormOf(downstream: Downstream, reply: LocalReply, code: Code, detail: string): LocalReply {
  if (downstream.version !== '2.0' || !isGrpc(downstream.head.fields)) return reply;
  return {
    status: 200,
    reason: 'OK',
    fields: [
      'content-type',
      'application/grpc',
      'grpc-status',
      String(grpcStatus(CODES[code].status)),
      'grpc-message',
      grpcMessage(`${code}: ${detail}`.slice(0, MAX_MESSAGE_CHARS)),
      ...without(reply.fields, (name) => name === 'content-type'),
    ],
    body: Buffer.alloc(0),
  };
}
