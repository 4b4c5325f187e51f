/**
 * What the proxy has to know of gRPC: how to recognise it, and how to tell its clients why there is no response.
 *
 * A gRPC client reads its status from headers and takes any body for messages, so that problem+json would reach its
 * user as "message too large".
 */
import { first } from './headers.ts';
import type { RawFields } from './message.ts';

/** By Content-Type (gRPC over HTTP/2, "Requests"); gRPC-Web is another protocol, and works over HTTP/1.1. */
export function isGrpc(fields: RawFields): boolean {
  const type = first(fields, 'content-type');
  return type !== undefined && /^application\/grpc(?:$|[+; \t])/i.test(type);
}

/** gRPC status codes: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/**
 * The gRPC status for the HTTP status of a reply of the sidecar's own: as clients map it themselves
 * (http-grpc-status-mapping.md), but 504 is the deadline that it means here, and 421 a reason to try again.
 */
export function grpcStatus(httpStatus: number): number {
  switch (httpStatus) {
    case 401:
      return UNAUTHENTICATED;
    case 403:
      return PERMISSION_DENIED;
    case 404:
    case 501:
      return UNIMPLEMENTED;
    case 421:
    case 429:
    case 502:
    case 503:
      return UNAVAILABLE;
    case 504:
      return DEADLINE_EXCEEDED;
    default:
      return INTERNAL;
  }
}

/** Value of grpc-message: UTF-8, percent-encoded outside of visible ASCII, and `%` itself. */
export function grpcMessage(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/g, (part) =>
    [...Buffer.from(part, 'utf8')]
      .map((octet) => `%${octet.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}
