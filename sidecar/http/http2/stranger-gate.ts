/**
 * The beginning of an HTTP/2 connection of a stranger: reads its frames up to the first request, within small budgets,
 * before the library sees any of it.
 *
 * The library reads 64 KiB at a time, 32 times in a row, and makes streams of what it finds before anybody can look: a
 * flood of resets or of compressed fields has its effect in one go. Here frames are only counted, by their heads
 * (RFC 9113 §4.1), and field blocks are not decoded. Our client waits for SETTINGS before it asks anything, so they are
 * sent from here, and their acknowledgement is waited for and taken out; the library sends the same once more.
 */
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import { CoarseTimer, type CoarseTimers } from '../sockets/timers.ts';

export interface StrangerGateOptions {
  readonly timers: CoarseTimers;
  /** From the preface to the end of the first head. */
  readonly headTimeoutMs: number;
  /** Of all that comes before the end of the first head. */
  readonly maxBytes: number;
  /** What the library will say, as SETTINGS by number (RFC 9113 §6.5.2). */
  readonly settings: readonly (readonly [number, number])[];
  /** The first request is there, or has begun; the socket is paused. `early`: from the preface on. */
  onRequest(socket: Socket, early: Buffer): void;
  /** It has broken the rules or used up its budget, and is being closed. */
  onRefused(reason: 'flood' | 'timeout' | 'malformed'): void;
}

const PREFACE_BYTES = 24;
const FRAME_HEAD_BYTES = 9;
/** Nobody may send larger ones unless we allow it (RFC 9113 §6.5.2). */
const MAX_FRAME_BYTES = 16_384;

const HEADERS = 1;
const PRIORITY = 2;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CONTINUATION = 9;
const ACK = 1;
const END_HEADERS = 4;
const BEFORE_A_REQUEST: ReadonlySet<number> = new Set([
  HEADERS,
  PRIORITY,
  SETTINGS,
  GOAWAY,
  WINDOW_UPDATE,
  CONTINUATION,
]);

/** Clients send SETTINGS and perhaps a WINDOW_UPDATE before their first request; ours pings while it waits. */
const MAX_FRAMES = 32;

/** What is left to be said has this long to be read. */
const LINGER_MS = 1_000;

type Verdict = 'more' | 'request' | 'flood' | 'malformed';

export class StrangerGate {
  readonly socket: Socket;
  readonly #options: StrangerGateOptions;
  readonly #deadline: CoarseTimer;
  #taken: Buffer[] = [];
  /** Read, and not a whole frame yet. */
  #rest: Buffer = Buffer.alloc(0);
  #takenBytes = 0;
  #frames = 0;
  #isInHead = false;
  #hasHead = false;
  #isAcknowledged = false;
  #isOver = false;
  readonly #onData = (chunk: Buffer): void => this.#received(chunk);
  readonly #onEnd = (): void => void this.socket.destroy();
  readonly #onClose = (): void => this.#leave();

  /** `early`: what was read so far, the whole preface at least; the socket is paused, without listeners. */
  constructor(socket: Socket, early: Buffer, options: StrangerGateOptions) {
    this.socket = socket;
    this.#options = options;
    this.#deadline = new CoarseTimer(() => this.#refuse('timeout'));
    socket.on('error', () => {}); // 'close' follows
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    options.timers.arm(this.#deadline, options.headTimeoutMs);
    socket.write(settingsFrame(options.settings));
    this.#keep(early.subarray(0, PREFACE_BYTES));
    this.#received(early.subarray(PREFACE_BYTES));
    if (!this.#isOver) socket.resume();
  }

  /** Nothing was asked: it ends now. */
  drain(): void {
    if (!this.#isOver) this.#goaway(constants.NGHTTP2_NO_ERROR);
  }

  /** Whoever takes over asks the listener. */
  drainAfterOne(): void {}

  #received(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const verdict = this.#readFrames();
    if (verdict === 'request') this.#handOver();
    else if (verdict !== 'more') this.#refuse(verdict);
    else if (this.#takenBytes + this.#rest.length > this.#options.maxBytes) this.#refuse('flood');
  }

  #readFrames(): Verdict {
    while (this.#rest.length >= FRAME_HEAD_BYTES) {
      const length = this.#rest.readUIntBE(0, 3);
      if (length > MAX_FRAME_BYTES) return 'malformed';
      const whole = FRAME_HEAD_BYTES + length;
      if (this.#rest.length < whole) return 'more';
      const frame = this.#rest.subarray(0, whole);
      this.#rest = this.#rest.subarray(whole);
      const verdict = this.#readFrame(frame);
      if (verdict !== 'more') return verdict;
    }
    return 'more';
  }

  #readFrame(frame: Buffer): Verdict {
    const [type, flags] = [frame[3] as number, frame[4] as number];
    if (++this.#frames > MAX_FRAMES) return 'flood';
    const isAck = type === SETTINGS && (flags & ACK) !== 0;
    if (this.#frames === 1 && (type !== SETTINGS || isAck)) return 'malformed';
    if (this.#isInHead !== (type === CONTINUATION)) return 'malformed';
    if (isAck) {
      if (this.#isAcknowledged) return 'malformed';
      this.#isAcknowledged = true;
    } else if (type === PING) {
      if (frame.length !== FRAME_HEAD_BYTES + 8) return 'malformed';
      if ((flags & ACK) === 0) this.socket.write(pong(frame));
    } else if (this.#hasHead || BEFORE_A_REQUEST.has(type)) {
      this.#keep(frame);
      if (type === HEADERS || type === CONTINUATION) {
        this.#isInHead = (flags & END_HEADERS) === 0;
        this.#hasHead ||= !this.#isInHead;
      }
    } else if (type <= CONTINUATION) {
      return 'malformed'; // DATA, RST_STREAM and PUSH_PROMISE have no stream yet
    } // unknown types are ignored (RFC 9113 §4.1)
    return this.#hasHead && this.#isAcknowledged ? 'request' : 'more';
  }

  #keep(bytes: Buffer): void {
    this.#taken.push(bytes);
    this.#takenBytes += bytes.length;
  }

  #handOver(): void {
    const early = Buffer.concat([...this.#taken, this.#rest]);
    this.#leave();
    this.socket.pause();
    this.#options.onRequest(this.socket, early);
  }

  #refuse(reason: 'flood' | 'timeout' | 'malformed'): void {
    if (this.#isOver) return;
    this.#options.onRefused(reason);
    const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_NO_ERROR } = constants;
    const codes = {
      flood: NGHTTP2_ENHANCE_YOUR_CALM,
      malformed: NGHTTP2_PROTOCOL_ERROR,
      timeout: NGHTTP2_NO_ERROR,
    };
    this.#goaway(codes[reason]);
  }

  /** What still comes is not read: whoever floods is not waited for. */
  #goaway(code: number): void {
    this.#leave();
    this.socket.pause();
    const end = new CoarseTimer(() => this.socket.destroy());
    this.socket.once('close', () => this.#options.timers.disarm(end));
    this.#options.timers.arm(end, LINGER_MS);
    this.socket.end(goawayFrame(code));
  }

  #leave(): void {
    this.#isOver = true;
    this.#taken = [];
    this.#rest = Buffer.alloc(0);
    this.#options.timers.disarm(this.#deadline);
    this.socket.off('data', this.#onData);
    this.socket.off('end', this.#onEnd);
    this.socket.off('close', this.#onClose);
  }
}

function frameOf(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

function settingsFrame(settings: StrangerGateOptions['settings']): Buffer {
  const payload = Buffer.alloc(6 * settings.length);
  settings.forEach(([id, value], n) => {
    payload.writeUInt16BE(id, 6 * n);
    payload.writeUInt32BE(value, 6 * n + 2);
  });
  return frameOf(SETTINGS, 0, payload);
}

function pong(ping: Buffer): Buffer {
  return frameOf(PING, ACK, ping.subarray(FRAME_HEAD_BYTES));
}

/** No stream was looked at. */
function goawayFrame(code: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(code, 4);
  return frameOf(GOAWAY, 0, payload);
}
