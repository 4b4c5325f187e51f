/**
 * The two messages of `grpc.health.v1.Health/Check`, written and read by hand.
 *
 * A string in one, a number in the other: a protobuf library would be the largest dependency of this program. What is
 * read comes from the worker, and is bounded and checked like everything else.
 */

export const HEALTH_CHECK_PATH = '/grpc.health.v1.Health/Check';

/** `HealthCheckResponse.ServingStatus`. */
const STATUSES = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type ServingStatus = (typeof STATUSES)[number];

const FRAME_BYTES = 5;

/** Field 1, length-delimited, and field 1, varint (protobuf, "Encoding"). */
const SERVICE_TAG = 0x0a;
const STATUS_TAG = 0x08;

/** `service`: up to 200 characters of ASCII; '' = the server as a whole. */
export function encodeHealthCheck(service: string): Buffer {
  const name = Buffer.from(service, 'latin1');
  const length = name.length < 0x80 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >> 7];
  const message = name.length === 0 ? name : Buffer.from([SERVICE_TAG, ...length, ...name]);
  const frame = Buffer.alloc(FRAME_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, FRAME_BYTES);
  return frame;
}

/** What a response's body says; null = it is none. Never throws. */
export function parseHealthCheck(body: Buffer): ServingStatus | null {
  if (body.length < FRAME_BYTES || body[0] !== 0) return null;
  const message = body.subarray(FRAME_BYTES);
  if (message.length !== body.readUInt32BE(1)) return null;
  let status = 0;
  let at = 0;
  while (at < message.length) {
    const tag = varint(message, at);
    if (tag === null) return null;
    const field = valueEnd(message, tag.end, tag.value & 7);
    if (field === null || tag.value >> 3 === 0) return null;
    // As protobuf has it: the last one counts, and fields that are not known are passed over.
    if (tag.value === STATUS_TAG) status = varint(message, tag.end)?.value ?? 0;
    at = field;
  }
  return STATUSES[status] ?? 'UNKNOWN';
}

/** Where the value of a field ends; null = cut off, or of no known kind. */
function valueEnd(bytes: Buffer, at: number, wireType: number): number | null {
  const number = wireType === 0 || wireType === 2 ? varint(bytes, at) : null;
  const end = wireType === 1 ? at + 8 : wireType === 5 ? at + 4 : number === null ? null : number.end;
  if (end === null) return null;
  const whole = wireType === 2 ? end + (number?.value ?? 0) : end;
  return whole <= bytes.length ? whole : null;
}

/** Up to 10 bytes; what does not fit into 31 bits is no value that is known here, and comes as the largest. */
function varint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } | null {
  let value = 0;
  for (let at = start; at < bytes.length && at < start + 10; at += 1) {
    const byte = bytes[at] as number;
    value = Math.min(0x7fffffff, value + (byte & 0x7f) * 2 ** (7 * (at - start)));
    if (byte < 0x80) return { value, end: at + 1 };
  }
  return null;
}
