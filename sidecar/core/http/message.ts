/**
 * The parts of an HTTP message that parsers fill in and the proxy reads, whatever the version.
 */

/**
 * Flat `[name, value, name, value…]` in the order received, latin1 strings: names as received, values without the
 * white space around them, every other byte untouched.
 */
export type RawFields = string[];

/** What a sender may make this process hold before its head is complete. */
export interface HeadLimits {
  /** From the first byte to the end of the empty line; also bounds an incomplete head. */
  readonly maxHeadBytes: number;
  readonly maxFields: number;
  readonly maxTargetBytes: number;
}

/** `close`: until the connection ends; responses only. */
export type Framing =
  | { kind: 'none' }
  | { kind: 'length'; bytes: number }
  | { kind: 'chunked' }
  | { kind: 'close' };

export interface RequestHead {
  method: string;
  /** As received, in any of the four forms; forwarding/service-address interprets it. */
  target: string;
  /** Of the received version; a higher minor of HTTP/1 counts as 1 (RFC 9110 §2.5). */
  minor: 0 | 1;
  /** Never changed in place: the next request on the connection may have the very same. */
  fields: RawFields;
  framing: Framing;
  /**
   * Whether the client may send another request; never with HTTP/1.0, where a proxy must not allow it (RFC 9112 §9.3).
   */
  keepAlive: boolean;
  /** Value of Upgrade if Connection names it and minor is 1. */
  upgrade: string | null;
  /** `Expect: 100-continue` and minor 1. */
  expectContinue: boolean;
  /** Authority of an absolute-form target, else the value of Host; '' when there is none. */
  host: string;
  /** Set when the fields repeat those before on the connection: what was made of them can be kept here. */
  repeated?: Repeated;
}

/** What a consumer has made of fields that repeat; it knows its own by their class. */
export interface Repeated {
  made: object | null;
}

export interface ResponseHead {
  /** 100 to 999: classes that nobody knows pass, too. */
  status: number;
  /** As received; may be empty. */
  reason: string;
  /** Of the received version; a higher minor of HTTP/1 counts as 1 (RFC 9110 §2.5). */
  minor: 0 | 1;
  /** Never changed in place, like those of a request. */
  fields: RawFields;
  /** Whether the connection may be used again once the body has ended by its framing (not for `close`). */
  keepAlive: boolean;
  /** As in a request; the whole head repeats the one before. */
  repeated?: Repeated;
}

/** `2.0` because a version without minor versions implies 0 (RFC 9110 §2.5). */
export type HttpVersion = '1.0' | '1.1' | '2.0';
