/**
 * The face of the HTTP/1.1 head parsers: what the proxy needs of them, under one name.
 *
 * The parts are apart because each is a noun with its own rules (fields, framing, request head, response head);
 * whoever needs one part alone imports that. It holds no code, and must stay so.
 */

export type { HeadLimits, RawFields } from './http1-fields.ts';
export { type Framing, responseFraming } from './http1-framing.ts';
export {
  type HeadFaultCode,
  type ParseResult,
  parseRequestHead,
  type RequestHead,
} from './http1-request-head.ts';
export { parseResponseHead, type ResponseHead } from './http1-response-head.ts';
