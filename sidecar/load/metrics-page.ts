/**
 * A metrics page that is asked again and again: the last response, or why there is none.
 *
 * One for the worker's own page and the GPU exporter's. A page that fails is dropped at once instead of keeping its
 * last figures: what is not known must not read as idle, nor as busy.
 */
import { baseUrlOf } from '../core/http/base-url.ts';
import { ownGet } from '../http/own-get.ts';
import type { TlsClient } from '../http/sockets/tls-client.ts';
import { parseSamples, type Sample } from './prometheus-text.ts';

export type PageNews =
  | { readonly kind: 'samples'; readonly samples: readonly Sample[] }
  | { readonly kind: 'failed'; readonly fault: Error };

export interface MetricsPageOptions {
  readonly url: string;
  /** How TLS is made; null = by the CAs of the system. */
  readonly tls?: TlsClient | null;
  readonly names: ReadonlySet<string>;
  /** From the end of one answer to the next question. */
  readonly intervalMs: number;
  /** Called after each question. */
  onNews(news: PageNews): void;
}

const TIMEOUT_MS = 2_000;

/** vLLM's page is about 100 KB. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024;

export class MetricsPage {
  readonly #options: MetricsPageOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | null = null;
  #isRunning = false;

  constructor(options: MetricsPageOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#isRunning || this.#stop.signal.aborted) return;
    this.#isRunning = true;
    void this.#askForEver();
  }

  stop(): void {
    this.#stop.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #askForEver(): Promise<void> {
    const news = await this.#ask();
    if (this.#stop.signal.aborted) return;
    this.#options.onNews(news);
    this.#timer = setTimeout(() => void this.#askForEver(), this.#options.intervalMs);
    this.#timer.unref();
  }

  async #ask(): Promise<PageNews> {
    const { url, names, tls = null } = this.#options;
    try {
      const { pathname, search } = new URL(url);
      const { status, body } = await ownGet({
        origin: { ...baseUrlOf(new URL(url)), ...(tls !== null && { tls }) },
        target: `${pathname}${search}`,
        fields: ['Accept', 'text/plain'],
        limitMs: TIMEOUT_MS,
        maxBytes: MAX_PAGE_BYTES,
        signal: this.#stop.signal,
      });
      if (status < 200 || status > 299) throw new Error(`status ${status}`);
      const samples = parseSamples(body.toString('utf8'), names);
      if (samples.length === 0) throw new Error(`none of ${[...names].join(', ')} is on the page`);
      return { kind: 'samples', samples };
    } catch (error) {
      return { kind: 'failed', fault: error instanceof Error ? error : new Error(String(error)) };
    }
  }
}
