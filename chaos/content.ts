/**
 * What the worker of a chaos run sends and its load expects: whole, or not at all.
 *
 * One file for both sides, so that a body that ended cleanly and is not this one shows. It must not send anything.
 */

export const LAST_EVENT = 'event: done\ndata: all\n\n';

export function eventText(at: number): string {
  return `id: ${at}\ndata: token ${at}\n\n`;
}

export function eventsText(count: number): string {
  let text = '';
  for (let at = 1; at <= count; at++) text += eventText(at);
  return text + LAST_EVENT;
}

const kept = new Map<number, Buffer>();

/** Each byte differs from the one a whole chunk away, so that a lost piece shows. */
export function bigBody(bytes: number): Buffer {
  let body = kept.get(bytes);
  if (body === undefined) {
    body = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at++) body[at] = (at * 31 + (at >>> 12) * 7) & 0xff;
    kept.set(bytes, body);
  }
  return body;
}
