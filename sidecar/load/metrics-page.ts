/**
 * A metrics page that is asked again and again: the last response, or why there is none.
 *
 * One for the worker's own page and the GPU exporter's. A page that fails is dropped at once instead of keeping its
 * last figures: what is not known must not read as idle, nor as busy.
 */
import { parseSamples, type Sample } from './prometheus-text.ts';

export type PageNews =
  | { readonly kind: 'samples'; readonly samples: readonly Sample[] }
  | { readonly kind: 'failed'; readonly fault: Error };

export interface MetricsPageOptions {
  readonly url: string;
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
    const { url, names } = this.#options;
    try {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT_MS)]);
      const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'text/plain' } });
      if (!response.ok) {
        await response.body?.cancel();
        throw new Error(`status ${response.status}`);
      }
      const samples = parseSamples(await bounded(response), names);
      if (samples.length === 0) throw new Error(`none of ${[...names].join(', ')} is on the page`);
      return { kind: 'samples', samples };
    } catch (error) {
      return { kind: 'failed', fault: error instanceof Error ? error : new Error(String(error)) };
    }
  }
}

async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.byteLength;
    if (length > MAX_PAGE_BYTES) throw new Error(`the page is larger than ${MAX_PAGE_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts, length).toString('utf8');
}
