/**
 * A member of the mesh that means harm: its certificate is good, so what it signs is believed, and a test says what it
 * answers, to the byte.
 *
 * Apart from the sidecars, with a socket server of its own, since what it sends no sidecar would send. It becomes known
 * as any newcomer does: it asks for a record and says where it has its own.
 */
import net from 'node:net';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { WorkerRecord } from '../../../sidecar/core/peers/record.ts';
import { sealRecord } from '../../../sidecar/mesh/discovery/sealed-record.ts';
import type { Identity } from '../../../sidecar/mesh/membership/identity.ts';
import { RequestAuth } from '../../../sidecar/mesh/membership/request-auth.ts';
import { onTestEnd } from '../runner/on-test-end.ts';
import { type Answer, send } from '../wire/http-client.ts';
import { member, recordOf } from './members.ts';

/** One verified request, and the connection that it came by. */
export interface Asked {
  readonly method: string;
  readonly target: string;
  readonly socket: net.Socket;
  /** The head of an answer with its signature; `fields` as `Name: value`. */
  head(status: number, fields?: readonly string[]): string;
  /** A whole signed response. */
  answer(status: number, body: string | Buffer, fields?: readonly string[]): void;
}

type Answering = (asked: Asked) => void;

export interface HostileSetup {
  readonly id?: string;
  readonly meshKey: string;
  readonly services: readonly string[];
  /** Of loopback, where it listens; 127.0.0.1 if not given. */
  readonly host?: string;
}

/** What it says of itself when nobody knows better: free, and quick beyond belief. */
export const IDLE_FIGURES = { in_flight: 0, concurrency: 1_000_000, queued: 0, service_ms: 0 };

export class HostilePeer {
  readonly identity: Identity;
  readonly epoch: number = Date.now();
  seq = 1;
  /** Requests for services, in the order of their arrival. */
  readonly asked: Asked[] = [];
  onRecord: Answering = (asked) => asked.answer(200, this.record());
  onState: Answering = (asked) => asked.answer(200, JSON.stringify(this.state()));
  onRecall: Answering = (asked) => asked.answer(200, '{"recalled":false}');
  onRequest: Answering = (asked) => asked.answer(200, 'from the hostile one');
  readonly #services: readonly string[];
  readonly #auth: RequestAuth;
  readonly #sockets = new Set<net.Socket>();
  readonly #host: string;
  #port = 0;

  static async start(setup: HostileSetup): Promise<HostilePeer> {
    const peer = new HostilePeer(setup);
    const server = net.createServer((socket) => peer.#serve(socket));
    await new Promise<void>((resolve) => server.listen(0, peer.#host, resolve));
    peer.#port = (server.address() as net.AddressInfo).port;
    onTestEnd(() => {
      server.close();
      for (const socket of peer.#sockets) socket.destroy();
    });
    return peer;
  }

  private constructor({ id = 'hostile', meshKey, services, host = '127.0.0.1' }: HostileSetup) {
    this.#host = host;
    this.identity = member(id, { meshKey: Buffer.from(meshKey, 'hex'), services, nowMs: Date.now() });
    this.#services = services;
    this.#auth = new RequestAuth(this.identity);
  }

  /** Connections that are open to it. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Its record as others may read it, with what the test has changed. */
  record(changes: Partial<WorkerRecord> = {}): Buffer {
    const figures = Object.fromEntries(this.#services.map((service) => [service, IDLE_FIGURES]));
    const own = { vpn_ip: this.#host, inbound_port: this.#port, services: this.#services, figures };
    const { epoch, seq } = this;
    const said = { ...own, load: 0, last_seen: Date.now() / 1000, epoch, seq, ...changes };
    return sealRecord(this.identity, recordOf(this.identity, said));
  }

  /** The body of GET /state. */
  state(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    const figures = { load: 0, ...IDLE_FIGURES, mine: 0, sharers: 1, oldest_ms: 0 };
    const services = Object.fromEntries(this.#services.map((service) => [service, figures]));
    return { epoch: this.epoch, seq: ++this.seq, state: 'ready', reason: '', services, ...changes };
  }

  /** The field by which a response tells how it is; by default free, instant, and with a queue that has just begun. */
  report(changes: Readonly<Record<string, string | number>> = {}): string {
    const figures = { in_flight: 0, queued: 0, concurrency: 1_000_000, mine: 0, sharers: 1 };
    const life = { sidecar_epoch: this.epoch, sidecar_seq: ++this.seq };
    const said = { sidecar_state: 1, load: 0, ...figures, service_ms: 0, oldest_ms: 0, ...life, ...changes };
    return `sidecar-load: ${Object.values(said).join(',')}`;
  }

  /** Asks another sidecar as a member; `fields` besides the proof. */
  ask(
    to: { readonly address: HostPort; readonly key: string },
    target: string,
    fields: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    return this.send(to, target, this.proof(to.key, target), fields);
  }

  /** The same with a proof that the test knows. */
  send(
    to: { readonly address: HostPort },
    target: string,
    proof: { readonly headers: Readonly<Record<string, string>> },
    fields: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    return send(to.address, { target, headers: { ...proof.headers, ...fields } });
  }

  /** The proof of membership for a request that the test sends by itself. */
  proof(
    peerKey: string,
    target: string,
  ): { readonly headers: Record<string, string>; readonly nonce: string } {
    const service = serviceOf(target);
    const signed = this.#auth.sign({ peerKey, method: 'GET', target, service, nowMs: Date.now() });
    return { headers: { 'sidecar-auth': signed.header }, nonce: signed.nonce };
  }

  /** Makes itself known, as a newcomer does. */
  async introduce(
    to: { readonly address: HostPort; readonly key: string },
    as = `${this.#host}:${this.#port}`,
  ): Promise<void> {
    await this.ask(to, '/record', { 'sidecar-inbound': as });
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      for (;;) {
        const end = pending.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = pending.slice(0, end);
        const bodyBytes = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
        if (pending.length < end + 4 + bodyBytes) return;
        pending = pending.slice(end + 4 + bodyBytes);
        this.#take(head, socket);
      }
    });
  }

  #take(head: string, socket: net.Socket): void {
    const [method = '', target = ''] = head.split(' ', 2);
    const header = /^sidecar-auth: *(.*)$/im.exec(head)?.[1];
    const nowMs = Date.now();
    const caller = this.#auth.verify({ header, method, target, service: serviceOf(target), nowMs });
    if (caller.kind !== 'member') {
      socket.destroy();
      return;
    }
    const { key: peerKey, nonce } = caller;
    const signedHead = (status: number, fields: readonly string[] = []): string => {
      const proof = this.#auth.signResponse({ peerKey, nonce, status, nowMs: Date.now() });
      return [`HTTP/1.1 ${status} Said`, `sidecar-auth: ${proof}`, ...fields, '', ''].join('\r\n');
    };
    const asked: Asked = {
      method,
      target,
      socket,
      head: signedHead,
      answer: (status, body, fields = []) => {
        const bytes = Buffer.from(body as string);
        socket.write(signedHead(status, [...fields, `Content-Length: ${bytes.length}`]));
        socket.write(bytes);
      },
    };
    if (target === '/record') this.onRecord(asked);
    else if (target === '/state') this.onState(asked);
    else if (target.startsWith('/recall/')) this.onRecall(asked);
    // It knows of no member that was revoked.
    else if (target.startsWith('/revoked/')) asked.answer(404, '');
    else {
      this.asked.push(asked);
      this.onRequest(asked);
    }
  }
}

function serviceOf(target: string): string {
  return /^\/service\/([^/?]+)/.exec(target)?.[1] ?? '';
}
