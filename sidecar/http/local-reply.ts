/**
 * A response that the sidecar makes itself, small and complete, and its bytes where there is no exchange to carry it.
 */
import { encodeResponseHead } from '../core/http/http1-encode.ts';

export interface LocalReply {
  readonly status: number;
  readonly reason: string;
  readonly fields: string[];
  readonly body: Buffer;
}

/** As the last message of its connection. */
export function finalReplyBytes({ status, reason, fields, body }: LocalReply): Buffer {
  const all = [...fields, 'Content-Length', String(body.length), 'Connection', 'close'];
  return Buffer.concat([Buffer.from(encodeResponseHead(status, reason, all), 'latin1'), body]);
}
