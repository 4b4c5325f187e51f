/**
 * The HTTP/2 settings of both our sides: windows, limits, and how much abuse is borne. In one place, because a limit of
 * the server side that the client side does not know shows up as a broken stream.
 */
import type { ClientSessionOptions, ServerSessionOptions } from 'node:http2';
import type { HeadLimits } from '../../core/http/message.ts';

/**
 * Bytes of one stream that may be unread here: the memory that a slow reader costs, and the most that a stream
 * moves per round trip (13 MB/s at 20 ms). The default of 64 KiB would be a quarter of that.
 */
const STREAM_WINDOW_BYTES = 262_144;

/** Of all streams together; Node gives it back as it reads, so that no slow stream holds up the others. */
export const CONNECTION_WINDOW_BYTES = 16 * STREAM_WINDOW_BYTES;

/** RFC 9113 §6.5.2 asks for at least 100; gRPC clients open one connection only and queue beyond this. */
const MAX_CONCURRENT_STREAMS = 1_024;

/** Node's default of 10 MB refuses streams long before 1,024 of them are open. */
const SESSION_MEMORY_MB = 128;

/** A head somewhat over our own limits still comes in, so that it gets its 431 instead of a broken stream. */
const HEAD_SLACK_BYTES = 16_384;

/** SETTINGS by number (RFC 9113 §6.5.2). */
const SETTINGS_MAX_CONCURRENT_STREAMS = 3;
const SETTINGS_INITIAL_WINDOW_SIZE = 4;
const SETTINGS_MAX_HEADER_LIST_SIZE = 6;
const FIELD_SLACK = 64;
const FRAMING_SLACK_BYTES = 4_096;

/**
 * Resets by the other side before the connection is taken for a flood (CVE-2023-44487): a burst, and per second.
 * nghttp2's own 1,000 and 33 are for strangers; a caller that cancels a thousand streams at once is an app that ends.
 */
const RESET_BURST = 10_000;
const RESETS_PER_SECOND = 1_000;

/** Frames that the protocol forbids, before the connection is given up. */
const MAX_INVALID_FRAMES = 100;

function common(limits: HeadLimits): ClientSessionOptions & ServerSessionOptions {
  return {
    maxSessionMemory: SESSION_MEMORY_MB,
    maxHeaderListPairs: limits.maxFields + FIELD_SLACK,
    // We pass on what came; whether a header may come twice is for the other end to say.
    strictSingleValueFields: false,
  };
}

export function serverSettings(limits: HeadLimits): ServerSessionOptions {
  return {
    ...common(limits),
    maxSessionInvalidFrames: MAX_INVALID_FRAMES,
    streamResetBurst: RESET_BURST,
    streamResetRate: RESETS_PER_SECOND,
    settings: {
      maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxHeaderListSize: limits.maxHeadBytes + HEAD_SLACK_BYTES,
    },
  };
}

/** The same as bytes would say them, for who speaks before the library does. */
export function serverSettingsByNumber(limits: HeadLimits): readonly (readonly [number, number])[] {
  return [
    [SETTINGS_MAX_CONCURRENT_STREAMS, MAX_CONCURRENT_STREAMS],
    [SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES],
    [SETTINGS_MAX_HEADER_LIST_SIZE, limits.maxHeadBytes + HEAD_SLACK_BYTES],
  ];
}

/** Of one head as it comes, however it is compressed, and what may come before it. */
export function maxHeadBytes(limits: HeadLimits): number {
  return limits.maxHeadBytes + HEAD_SLACK_BYTES + FRAMING_SLACK_BYTES;
}

export function clientSettings(limits: HeadLimits): ClientSessionOptions {
  return {
    ...common(limits),
    settings: {
      enablePush: false,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxHeaderListSize: limits.maxHeadBytes,
    },
  };
}
