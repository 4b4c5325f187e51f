/**
 * An answer that the sidecar gives by itself, small and complete, and its bytes where there is no exchange to carry it.
 *
 * It must not know why it is given.
 */
import { encodeResponseHead } from '../core/http/http1-encode.ts';

export interface WholeAnswer {
  readonly status: number;
  readonly reason: string;
  readonly fields: string[];
  readonly body: Buffer;
}

/** As the last message of its connection. */
export function lastAnswerBytes({ status, reason, fields, body }: WholeAnswer): Buffer {
  const all = [...fields, 'Content-Length', String(body.length), 'Connection', 'close'];
  return Buffer.concat([Buffer.from(encodeResponseHead(status, reason, all), 'latin1'), body]);
}
