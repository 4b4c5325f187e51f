/**
 * Small requests from this sidecar itself to a peer's inbound listener: its record, its state.
 *
 * Over the same connections and routes that requests take, so that a response also proves the route.
 */
import { SidecarError } from '../../core/errors.ts';
import { first } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { IncomingHead, Origin, Upstreams } from '../../http/exchange.ts';
import { hostHeader } from '../hop-headers.ts';
import { hasLearntClock, type PeerAuth } from './auth.ts';

export interface PeerAddress extends Origin {
  /** '' or the path of a tunnel URL, without a trailing slash. */
  readonly basePath: string;
}

export interface PeerClient {
  /**
   * GET `path` from the worker that holds `peerKey`. Rejects with the signal's reason, or with a SidecarError:
   * connect_*, upstream_*, or upstream_protocol when another worker answers or the body exceeds `maxBytes`.
   */
  get(o: {
    readonly address: PeerAddress;
    readonly peerKey: string;
    readonly path: string;
    /** Besides those of every request. */
    readonly fields?: RawFields;
    readonly signal: AbortSignal;
    readonly maxBytes: number;
    /** Over a connection of its own: one that is kept may be dead while the path lives. */
    readonly isFresh?: boolean;
  }): Promise<Buffer>;
}

/** `limitMs` bounds each step even where a caller's signal never comes. */
export function createPeerClient(upstreams: Upstreams, auth: PeerAuth, limitMs: number): PeerClient {
  const client: PeerClient = {
    get: ({ address, peerKey, path, fields = [], signal, maxBytes, isFresh = false }) =>
      new Promise((resolve, reject) => {
        const target = `${address.basePath}${path}`;
        const proof = auth.sign({ peerKey, method: 'GET', target: path, service: '', nowMs: Date.now() });
        const chunks: Buffer[] = [];
        let bytes = 0;
        let status = 0;
        let isOver = false;
        const over = (): void => {
          isOver = true;
          signal.removeEventListener('abort', aborted);
        };
        const fail = (error: unknown): void => {
          over();
          reject(error);
        };
        const aborted = (): void => {
          request.abort();
          fail(signal.reason);
        };
        const judge = (head: IncomingHead): string | null => {
          status = head.status;
          const header = first(head.fields, 'sidecar-auth');
          const answered = { peerKey, nonce: proof.nonce, status, nowMs: Date.now(), header };
          if (!auth.verifyResponse(answered)) {
            return `status ${status}, not signed by the worker that was asked`;
          }
          return status === 200 ? null : `status ${status}`;
        };
        const giveUp = (detail: string): void => {
          request.abort();
          fail(new SidecarError('upstream_protocol', detail));
        };
        const request = upstreams.request(
          address,
          {
            method: 'GET',
            target,
            host: hostHeader(address),
            fields: ['sidecar-auth', proof.header, 'Accept', '*/*', ...fields],
            body: { kind: 'none' },
            upgrade: null,
          },
          { connectMs: limitMs, headMs: limitMs, idleMs: limitMs },
          {
            onSent: () => {},
            onInformational: () => {},
            onHead: (head) => {
              const refusal = judge(head);
              if (refusal !== null) giveUp(refusal);
            },
            onData: (chunk) => {
              if (isOver) return false;
              bytes += chunk.length;
              if (bytes > maxBytes) giveUp(`more than ${maxBytes} bytes`);
              else chunks.push(chunk);
              return true;
            },
            onEnd: () => {
              if (isOver) return;
              over();
              resolve(Buffer.concat(chunks));
            },
            onUpgrade: (_head, stream) => {
              stream.socket.destroy();
              fail(new SidecarError('upstream_protocol', 'an upgrade that nobody asked for'));
            },
            onUpstreamDrain: () => {},
            onFault: ({ code, detail, isRefused = false }) =>
              fail(new SidecarError(code, detail, { isRefused })),
          },
          isFresh,
        );
        if (signal.aborted) aborted();
        else signal.addEventListener('abort', aborted);
      }),
  };
  return {
    async get(asked) {
      const clockMs = auth.clockOffsetMs(asked.peerKey);
      try {
        return await client.get(asked);
      } catch (fault) {
        // Refused because our clock is off; the refusal told the time.
        if (asked.signal.aborted || !hasLearntClock(clockMs, auth.clockOffsetMs(asked.peerKey))) throw fault;
        return await client.get(asked);
      }
    },
  };
}
