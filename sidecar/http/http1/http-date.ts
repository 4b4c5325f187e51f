/**
 * The Date field (RFC 9110 §5.6.7), formatted once per second.
 *
 * toUTCString per response would cost more than all its other fields. It must not know who asks.
 */

let second = 0;
let text = '';

export function httpDate(): string {
  const nowMs = Date.now();
  const nowSecond = Math.floor(nowMs / 1000);
  if (nowSecond !== second) {
    second = nowSecond;
    text = new Date(nowMs).toUTCString();
  }
  return text;
}
