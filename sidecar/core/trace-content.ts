/**
 * What the last recipient of a TRACE sends back: the request as it came (RFC 9110 §9.3.8, media type `message/http`).
 *
 * Without what is secret, because the answer may be read by somebody who was never to see it. It must not decide who
 * the last recipient is.
 */
import { without } from './headers.ts';
import { fieldLines } from './http1-encode.ts';
import type { RequestHead } from './http1-head.ts';
import { isSidecarField } from './sidecar-fields.ts';

const SECRET: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie', 'cookie2']);

function isSecret(lowerName: string): boolean {
  return SECRET.has(lowerName) || isSidecarField(lowerName) || /token|secret|api-?key/.test(lowerName);
}

/** The head without its secrets, in the form of HTTP/1.1 whatever it came in. */
export function traceContent(head: RequestHead): Buffer {
  const fields = without(head.fields, isSecret);
  const line = `${head.method} ${head.target} HTTP/1.${head.minor}`;
  return Buffer.from(`${line}\r\n${fieldLines(fields)}\r\n`, 'latin1');
}
