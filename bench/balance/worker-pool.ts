/**
 * Sleeping workers, as a process of their own: each with its slots, its speed and a queue, first come first served.
 *
 * A worker that sleeps costs no CPU, so that many fit on a small machine, and each proxy gets the same demands: the
 * work is in the request (`/?work=MS`). The queue is the worker's own, for proxies that do not know its slots. It must
 * not know who calls.
 *
 * Argument: JSON of SleepingSpec[]. Prints `{"ports":[…],"control":port}`. The control port takes
 * `/?worker=2&factor=0.1` and `/?worker=2&dies=1`.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SleepingSpec } from './pool.ts';

class SleepingWorker {
  readonly #spec: SleepingSpec;
  readonly #server: Server;
  readonly #waiting: (() => void)[] = [];
  #busy = 0;
  #factor = 1;

  constructor(spec: SleepingSpec) {
    this.#spec = spec;
    this.#server = createServer((request, response) => {
      const workMs = Number(new URL(request.url ?? '/', 'http://worker').searchParams.get('work') ?? 0);
      request.resume();
      this.#take(workMs, response);
    });
    this.#server.keepAliveTimeout = 120_000;
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', 1_024, resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  slow(factor: number): void {
    this.#factor = factor;
  }

  die(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #take(workMs: number, response: ServerResponse): void {
    const isFull = this.#busy >= this.#spec.slots;
    if (isFull && this.#spec.refuses) {
      response.writeHead(429, { 'content-length': 0 }).end();
      return;
    }
    let isGone = false;
    response.on('close', () => {
      isGone = true;
    });
    const serve = (): void => {
      if (isGone) {
        this.#next();
        return;
      }
      const serviceMs = workMs / (this.#spec.speed * this.#factor);
      setTimeout(() => {
        response.end('ok\n');
        this.#next();
      }, serviceMs);
    };
    if (isFull) this.#waiting.push(serve);
    else {
      this.#busy += 1;
      serve();
    }
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#busy -= 1;
    else next();
  }
}

const specs = JSON.parse(process.argv[2] ?? '[]') as SleepingSpec[];
const workers = specs.map((spec) => new SleepingWorker(spec));
const ports = await Promise.all(workers.map((worker) => worker.listen()));
const control = createServer((request, response) => {
  const { searchParams } = new URL(request.url ?? '/', 'http://control');
  const worker = workers[Number(searchParams.get('worker'))];
  if (searchParams.has('dies')) worker?.die();
  else worker?.slow(Number(searchParams.get('factor')));
  response.end();
});
control.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ ports, control: (control.address() as AddressInfo).port })}\n`);
});
