/**
 * Learns this worker's tunnel URL from the cloudflared beside it (`GET /quicktunnel` on its metrics port).
 *
 * A quick tunnel has a new name after every start of cloudflared, so it is asked again and again. cloudflared answers
 * `{"hostname":"…"}`, empty for a named tunnel.
 */
import { messageOf } from '../../core/errors.ts';
import { isHostName } from '../../core/host-port.ts';
import { baseUrlOf } from '../../core/http/base-url.ts';
import type { Log } from '../../core/log.ts';
import { ownGet } from '../../http/own-get.ts';

export interface QuickTunnelOptions {
  /** `http://host:port` of cloudflared's metrics. */
  readonly metricsUrl: string;
  /** null: there is no tunnel now. */
  onUrl(url: string | null): void;
  readonly log: Pick<Log, 'info' | 'warn'>;
}

const ASK_INTERVAL_MS = 5_000;
const TIMEOUT_MS = 2_000;
const MAX_BODY_BYTES = 4_096;

export class QuickTunnel {
  readonly #options: QuickTunnelOptions;
  #timer: NodeJS.Timeout | null = null;
  #url: string | null = null;
  #hasComplained = false;
  readonly #stop = new AbortController();

  constructor(options: QuickTunnelOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#ask();
  }

  stop(): void {
    this.#stop.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #ask(): Promise<void> {
    const { log, metricsUrl } = this.#options;
    try {
      const { status, body } = await ownGet({
        origin: baseUrlOf(new URL(metricsUrl)),
        target: '/quicktunnel',
        fields: [],
        limitMs: TIMEOUT_MS,
        maxBytes: MAX_BODY_BYTES,
        signal: this.#stop.signal,
      });
      const url = status === 200 ? parseHostname(body.toString('utf8')) : null;
      this.#hasComplained = false;
      this.#found(url);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      // cloudflared is restarting, perhaps: its old name is void either way.
      this.#found(null);
      if (!this.#hasComplained) {
        const reason = messageOf(error);
        log.warn({ url: metricsUrl, reason }, 'cloudflared does not say its tunnel name; asking again');
      }
      this.#hasComplained = true;
    }
    this.#timer = setTimeout(() => void this.#ask(), ASK_INTERVAL_MS);
  }

  #found(url: string | null): void {
    if (url === this.#url) return;
    this.#url = url;
    if (url !== null) this.#options.log.info({ url }, 'the tunnel has a name');
    this.#options.onUrl(url);
  }
}

/** The URL in a response of /quicktunnel; null when there is none. Never throws. */
export function parseHostname(body: string): string | null {
  if (body.length > MAX_BODY_BYTES) return null;
  try {
    const { hostname } = JSON.parse(body) as { hostname?: unknown };
    return typeof hostname === 'string' && isHostName(hostname) ? `https://${hostname}` : null;
  } catch {
    return null;
  }
}
