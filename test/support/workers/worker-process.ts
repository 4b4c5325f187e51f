/**
 * A running test/support/workers/worker.ts: where it listens, what it has seen, and its switches.
 *
 * Ends with the test process, however that ends.
 */
import { fileURLToPath } from 'node:url';
import { TiedProcess } from '../../../sidecar/demo/tied-process.ts';
import { type Sent, send } from '../wire/http-client.ts';

const MODULE = fileURLToPath(new URL('./worker.ts', import.meta.url));

export interface SeenByWorker {
  /** `id` of the query, or Idempotency-Key. */
  readonly id: string;
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly bodyBytes: number;
  /** `aborted`: the connection ended before the response had. */
  readonly progress: 'received' | 'answered' | 'aborted';
}

export interface WorkerSettings {
  readonly mode?: 'echo' | 'delay' | 'status' | 'sse' | 'stream' | 'hang' | 'reset' | 'partial';
  readonly ms?: number;
  readonly status?: number;
  readonly events?: number;
  readonly bytes?: number;
  readonly framing?: 'length' | 'chunked';
  readonly health?: 'ok' | 'failing' | 'hang';
  /** On every response as the ORCA field; null: it says nothing. */
  readonly load?: number | null;
}

export class WorkerProcess {
  readonly process: TiedProcess;
  readonly port: number;
  readonly #control: { readonly host: string; readonly port: number };

  private constructor(process: TiedProcess, port: number, control: number) {
    this.process = process;
    this.port = port;
    this.#control = { host: '127.0.0.1', port: control };
  }

  /** Resolves when it listens; port 0 = any. */
  static async start(name: string, port = 0): Promise<WorkerProcess> {
    const process = new TiedProcess({
      name: `worker ${name}`,
      module: MODULE,
      args: [name, String(port)],
      env: { PATH: globalThis.process.env.PATH },
    });
    const ports = await process.line((line) =>
      typeof line.port === 'number' && typeof line.control === 'number' ? [line.port, line.control] : null,
    );
    return new WorkerProcess(process, ports[0] ?? 0, ports[1] ?? 0);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** From now on, for all requests that do not say otherwise in their query. */
  async set(settings: WorkerSettings): Promise<void> {
    await this.#ask({ method: 'POST', target: '/set', body: JSON.stringify(settings) });
  }

  /** Requests in the order in which they came; health checks are not among them. */
  async seen(id?: string): Promise<readonly SeenByWorker[]> {
    const all = await this.#ask({ target: '/seen' });
    return id === undefined ? all : all.filter((one) => one.id === id);
  }

  /** Resolves once so many requests of this id were received, fully answered or aborted. */
  async when(id: string, progress: SeenByWorker['progress'] = 'received', count = 1): Promise<void> {
    const query = new URLSearchParams({ id, progress, count: String(count) });
    await this.#ask({ target: `/when?${query}` });
  }

  async #ask(sent: Sent): Promise<readonly SeenByWorker[]> {
    return JSON.parse((await send(this.#control, sent)).body) as SeenByWorker[];
  }
}
