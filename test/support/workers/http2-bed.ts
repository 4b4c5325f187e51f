/**
 * Requests to an HTTP/2 origin whose frames the test writes, without sidecars: what each was told, in one word.
 */
import { expect } from '@jest/globals';
import type { RawFields } from '../../../sidecar/core/http/message.ts';
import type {
  IncomingHead,
  OutgoingHead,
  RequestTimeouts,
  UpstreamFault,
  UpstreamHandler,
  UpstreamRequest,
} from '../../../sidecar/http/exchange.ts';
import { Http2Pool } from '../../../sidecar/http/http2/pool.ts';
import { CoarseTimers } from '../../../sidecar/http/sockets/timers.ts';
import { LIMITS } from '../meshes/inbound-side.ts';
import { within } from '../runner/arrivals.ts';
import { fail } from '../runner/expectations.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { Http2Origin, type OriginConnection } from './http2-origin.ts';

export const TIMEOUTS: RequestTimeouts = { connectMs: 400, headMs: 5_000, idleMs: 5_000 };
export const OK = [':status', '200'];

/** Notes what an upstream says. */
export class Told implements UpstreamHandler {
  request: UpstreamRequest | null = null;
  sent = 0;
  head: IncomingHead | null = null;
  body = '';
  trailers: RawFields | null = null;
  fault: UpstreamFault | null = null;
  readonly over: Promise<this>;
  readonly began: Promise<IncomingHead>;
  readonly interim: number[] = [];
  #end: () => void = () => {};
  #begin: (head: IncomingHead) => void = () => {};

  constructor() {
    this.over = within(
      new Promise((resolve) => {
        this.#end = () => resolve(this);
      }),
      () => 'the end of a request',
    );
    this.began = new Promise((resolve) => {
      this.#begin = resolve;
    });
    this.over.catch(() => {});
  }

  /** `code stage` */
  get verdict(): string {
    return this.fault === null ? 'whole' : `${this.fault.code} ${this.fault.stage}`;
  }

  onSent(request: UpstreamRequest): void {
    this.sent++;
    this.request = request;
  }
  onInformational(status: number): void {
    this.interim.push(status);
  }
  onHead(head: IncomingHead): void {
    this.head = head;
    this.#begin(head);
  }
  onData(chunk: Buffer): boolean {
    this.body += chunk.toString('latin1');
    return false;
  }
  onEnd(trailers: RawFields): void {
    expect(this.trailers).toBe(null);
    this.trailers = trailers;
    this.#end();
  }
  onUpgrade(): void {
    fail('an upgrade');
  }
  onUpstreamDrain(): void {}
  onFault(fault: UpstreamFault): void {
    expect(this.fault).toBe(null);
    this.fault = fault;
    this.#end();
  }
}

export function get(changes: Partial<OutgoingHead> = {}): OutgoingHead {
  return {
    method: 'GET',
    target: '/',
    host: 'w',
    fields: [],
    body: { kind: 'none' },
    upgrade: null,
    ...changes,
  };
}

export class Http2Bed {
  readonly origin: Http2Origin;
  readonly pool: Http2Pool;

  static async start(proveAfterMs: number | null = null, keepIdleMs = 60_000): Promise<Http2Bed> {
    const bed = new Http2Bed(await Http2Origin.start(), proveAfterMs, keepIdleMs);
    onTestEnd(() => bed.pool.destroy());
    return bed;
  }

  constructor(origin: Http2Origin, proveAfterMs: number | null, keepIdleMs: number) {
    this.origin = origin;
    const timers = new CoarseTimers(10);
    this.pool = new Http2Pool({ limits: LIMITS, timers, keepIdleMs, proveAfterMs, connectAttempts: 1 });
  }

  send(head = get(), timeouts: Partial<RequestTimeouts> = {}): Told & { handle: UpstreamRequest } {
    const told = new Told();
    const address = { scheme: 'h2c', host: '127.0.0.1', port: this.origin.port } as const;
    const handle = this.pool.request(address, head, { ...TIMEOUTS, ...timeouts }, told);
    return Object.assign(told, { handle });
  }

  /** A request that has reached the origin. */
  async arrived(head = get()): Promise<{ told: Told; connection: OriginConnection; stream: number }> {
    const told = this.send(head);
    const connection = await this.origin.connections.next();
    return { told, connection, stream: await connection.request() };
  }
}
