/**
 * The first bytes of an HTTP/2 connection with prior knowledge (RFC 9113 §3.3 and §3.4).
 *
 * Chosen by the RFC so that no HTTP/1 parser takes them for a request: whoever parses HTTP/1 looks here only after
 * its parser has refused the bytes, and pays nothing for it otherwise. It must not know connections.
 */

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** `partial`: all bytes given fit, more must come. */
export function prefaceIn(bytes: Buffer): 'whole' | 'partial' | 'none' {
  const length = Math.min(bytes.length, PREFACE.length);
  if (PREFACE.compare(bytes, 0, length, 0, length) !== 0) return 'none';
  return length === PREFACE.length ? 'whole' : 'partial';
}
