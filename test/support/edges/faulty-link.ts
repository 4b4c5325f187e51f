/**
 * A TCP relay that fails at random, from a seed: what lies between two programs when the network is at its worst.
 *
 * It fails where it hurts most: at each turn of a connection (the first bytes of a request, the first of a response)
 * a fault may be drawn, so that a kept connection is closed just when it is used again, and bytes that are under way
 * arrive after their sender has given up.
 */
import { once } from 'node:events';
import net from 'node:net';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { Random } from '../../../sim/random.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

export const REQUEST_FAULTS = [
  /** The kept connection is gone: reset, or closed, with no byte handed on. */
  'reset_at_once',
  'end_at_once',
  /** So many bytes are handed on, then both ends break: the far one by a reset, or by a clean end. */
  'reset_within',
  'end_within',
  /** The whole request goes on, but no response can come back: the near side is closed half. */
  'half_close',
  /** Nothing goes through any more, and nobody says so. */
  'hole',
  /** What was sent arrives late, also when the sender has left meanwhile. */
  'late',
  /** No new connections for a while. */
  'refuse',
] as const;
export const ANSWER_FAULTS = [
  /** The request was served and its response is lost: whole, or from a random byte on. */
  'answer_lost',
  'answer_reset',
  'answer_ended',
  /** Made up by something in between: an interim response and then a reset, or a gateway's own response. */
  'interim_then_reset',
  'foreign_answer',
] as const;
export type LinkFault = (typeof REQUEST_FAULTS)[number] | (typeof ANSWER_FAULTS)[number];

const INTERIM = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n';
const FOREIGN = 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad';
const HOLE_MS = 1_500;
const LATE_MS = 1_200;
const REFUSE_MS = 120;
const MOST_REQUEST_BYTES = 100_000;
const MOST_ANSWER_BYTES = 2_000;

export interface FaultyLinkOptions {
  readonly random: Random;
  /** Of a fault at each turn, once `isFaulty`. */
  readonly rate: number;
  readonly faults: readonly LinkFault[];
}

export class FaultyLink {
  /** Carries everything until this is set. */
  isFaulty = false;
  /** Where it leads; connections are reset while that is null. */
  to: HostPort | null = null;
  /** How often each fault struck. */
  readonly struck = new Map<LinkFault, number>();
  readonly #options: FaultyLinkOptions;
  readonly #requestFaults: readonly LinkFault[];
  readonly #answerFaults: readonly LinkFault[];
  readonly #sockets = new Set<net.Socket>();
  #server: net.Server | null = null;
  #at: HostPort;
  #isOver = false;

  private constructor(at: HostPort, options: FaultyLinkOptions) {
    this.#at = at;
    this.#options = options;
    this.#requestFaults = options.faults.filter((fault) => REQUEST_FAULTS.some((each) => each === fault));
    this.#answerFaults = options.faults.filter((fault) => ANSWER_FAULTS.some((each) => each === fault));
  }

  /** Listens, and ends with the test. */
  static async start(at: HostPort, options: FaultyLinkOptions): Promise<FaultyLink> {
    const link = new FaultyLink(at, options);
    onTestEnd(() => link.#close());
    await link.#listen();
    return link;
  }

  get at(): HostPort {
    return this.#at;
  }

  get random(): Random {
    return this.#options.random;
  }

  drawn(turn: 'request' | 'answer'): LinkFault | null {
    const { random, rate } = this.#options;
    const faults = turn === 'request' ? this.#requestFaults : this.#answerFaults;
    if (!this.isFaulty || random.next() >= rate) return null;
    const fault = faults[random.index(faults.length)] ?? null;
    if (fault !== null) this.struck.set(fault, (this.struck.get(fault) ?? 0) + 1);
    return fault;
  }

  /** Refuses new connections for a while. */
  shut(): void {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    server.close();
    this.#reopens(REFUSE_MS);
  }

  #reopens(afterMs: number): void {
    later(() => {
      // Its port may be that of an outgoing connection for a moment.
      if (!this.#isOver) this.#listen().catch(() => this.#reopens(afterMs));
    }, afterMs);
  }

  async #listen(): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#carry(near));
    server.listen(this.#at.port, this.#at.host);
    await once(server, 'listening');
    this.#at = { host: this.#at.host, port: (server.address() as net.AddressInfo).port };
    if (this.#isOver) server.close();
    else this.#server = server;
  }

  #carry(near: net.Socket): void {
    if (this.to === null) {
      near.on('error', () => {}).resetAndDestroy();
      return;
    }
    const { host, port } = this.to;
    const far = net.connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.unref(); // Node loses a handle that is destroyed while its reset is under way
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
    }
    new Carried(this, near, far);
  }

  async #close(): Promise<void> {
    this.#isOver = true;
    const server = this.#server;
    const closed = server === null ? null : once(server, 'close');
    server?.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** One connection. Bodies are small: nothing here waits for room. */
class Carried {
  readonly #link: FaultyLink;
  readonly #near: net.Socket;
  readonly #far: net.Socket;
  #turn: 'request' | 'answer' | null = null;
  /** Handed on in the present turn before `#cut` is done. */
  #bytesLeft = Number.POSITIVE_INFINITY;
  #cut: () => void = () => {};
  #isDead = false;
  #held: Buffer[] | null = null;

  constructor(link: FaultyLink, near: net.Socket, far: net.Socket) {
    this.#link = link;
    this.#near = near;
    this.#far = far;
    near.on('data', (chunk: Buffer) => this.#fromNear(chunk));
    far.on('data', (chunk: Buffer) => this.#fromFar(chunk));
    const whenLeft = (then: () => void) => (): void => {
      if (!this.#isDead && this.#held === null) then();
    };
    const whenOver = (then: () => void) => (): void => {
      if (!this.#isDead) then();
    };
    near.on(
      'end',
      whenLeft(() => far.end()),
    );
    near.on(
      'close',
      whenLeft(() => far.destroy()),
    );
    far.on(
      'end',
      whenOver(() => near.end()),
    );
    far.on(
      'close',
      whenOver(() => near.resetAndDestroy()),
    );
  }

  #fromNear(chunk: Buffer): void {
    if (this.#isDead) return;
    if (this.#turn !== 'request') this.#turns('request');
    if (this.#held !== null) this.#held.push(chunk);
    else if (!this.#isDead) this.#handOn(this.#far, chunk);
  }

  #fromFar(chunk: Buffer): void {
    if (this.#isDead) return;
    if (this.#turn !== 'answer') this.#turns('answer');
    if (!this.#isDead) this.#handOn(this.#near, chunk);
  }

  #handOn(to: net.Socket, chunk: Buffer): void {
    const part = chunk.length > this.#bytesLeft ? chunk.subarray(0, this.#bytesLeft) : chunk;
    this.#bytesLeft -= part.length;
    if (part.length > 0 && to.writable) to.write(part);
    if (this.#bytesLeft > 0) return;
    this.#isDead = true;
    this.#cut();
  }

  #turns(turn: 'request' | 'answer'): void {
    this.#turn = turn;
    this.#bytesLeft = Number.POSITIVE_INFINITY;
    const fault = this.#link.drawn(turn);
    if (fault !== null) this.#fails(fault);
  }

  #fails(fault: LinkFault): void {
    const near = this.#near;
    const far = this.#far;
    const { random } = this.#link;
    // As often within the head as within the body.
    const somewhere = (most: number): number => 1 + Math.floor(most ** random.next());
    const after = (bytes: number, cut: () => void): void => {
      this.#bytesLeft = bytes;
      this.#cut = cut;
    };
    const dies = (then: () => void): void => {
      this.#isDead = true;
      then();
    };
    const breaks = (): void => this.#break();
    switch (fault) {
      case 'reset_at_once':
      case 'answer_lost':
        dies(breaks);
        break;
      case 'end_at_once':
        dies(() => {
          near.end();
          far.end();
        });
        later(breaks, LATE_MS);
        break;
      case 'reset_within':
        after(somewhere(MOST_REQUEST_BYTES), breaks);
        break;
      case 'end_within':
        after(somewhere(MOST_REQUEST_BYTES), () => {
          near.resetAndDestroy();
          far.end();
          later(() => far.destroy(), LATE_MS);
        });
        break;
      case 'half_close':
        near.end();
        break;
      case 'hole':
        dies(() => later(breaks, HOLE_MS));
        break;
      case 'late':
        this.#held = [];
        later(() => this.#release(), random.next() * LATE_MS);
        break;
      case 'refuse':
        this.#link.shut();
        dies(breaks);
        break;
      case 'answer_reset':
        after(somewhere(MOST_ANSWER_BYTES), breaks);
        break;
      case 'answer_ended':
        after(somewhere(MOST_ANSWER_BYTES), () => {
          near.end();
          far.destroy();
        });
        break;
      case 'interim_then_reset':
        dies(() => near.write(INTERIM, breaks));
        break;
      case 'foreign_answer':
        dies(() => near.end(FOREIGN));
        far.destroy();
    }
  }

  /** What was held goes on, whoever is left to hear of it. */
  #release(): void {
    for (const chunk of this.#held ?? []) if (this.#far.writable) this.#far.write(chunk);
    this.#held = null;
    if (!this.#near.destroyed) return;
    this.#far.end();
    later(() => this.#far.destroy(), LATE_MS);
  }

  #break(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }
}

function later(then: () => void, ms: number): void {
  setTimeout(then, ms).unref();
}
