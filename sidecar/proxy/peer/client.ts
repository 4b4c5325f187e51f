/**
 * Small requests from this sidecar itself to a peer's inbound listener: its record, its state.
 *
 * Over the same connections and routes that requests take, so that a response also proves the route.
 */
import { first } from '../../core/http/headers.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { Origin, Upstreams } from '../../http/exchange.ts';
import { smallGet } from '../../http/small-get.ts';
import { hasLearntClock, type PeerAuth } from './auth.ts';

export interface PeerAddress extends Origin {
  /** '' or the path of a tunnel URL, without a trailing slash. */
  readonly basePath: string;
}

export interface PeerClient {
  /**
   * GET `path` from the worker that holds `peerKey`. Rejects with the signal's reason, or with a SidecarError:
   * connect_*, response_timeout, upstream_*, or upstream_protocol when another worker answers or the body exceeds
   * `maxBytes`.
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

/** `limitMs` bounds the whole even where a caller's signal never comes. */
export function createPeerClient(upstreams: Upstreams, auth: PeerAuth, limitMs: number): PeerClient {
  const ask: PeerClient['get'] = async ({
    address,
    peerKey,
    path,
    fields = [],
    signal,
    maxBytes,
    isFresh = false,
  }) => {
    const proof = auth.sign({ peerKey, method: 'GET', target: path, service: '', nowMs: Date.now() });
    const { body } = await smallGet(upstreams, {
      origin: address,
      target: `${address.basePath}${path}`,
      fields: ['sidecar-auth', proof.header, 'Accept', '*/*', ...fields],
      limitMs,
      maxBytes,
      signal,
      isFresh,
      refusal: ({ status, fields }) => {
        const header = first(fields, 'sidecar-auth');
        const answered = { peerKey, nonce: proof.nonce, status, nowMs: Date.now(), header };
        if (!auth.verifyResponse(answered))
          return `status ${status}, not signed by the worker that was asked`;
        return status === 200 ? null : `status ${status}`;
      },
    });
    return body;
  };
  return {
    async get(asked) {
      const clockMs = auth.clockOffsetMs(asked.peerKey);
      try {
        return await ask(asked);
      } catch (fault) {
        // Refused because our clock is off; the refusal told the time.
        if (asked.signal.aborted || !hasLearntClock(clockMs, auth.clockOffsetMs(asked.peerKey))) throw fault;
        return await ask(asked);
      }
    },
  };
}
