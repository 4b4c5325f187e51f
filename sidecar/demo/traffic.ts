/**
 * The app's traffic: some users, each with one request after the other, until they are told to stop.
 *
 * A closed loop, as a person or a batch job is: a slow mesh is asked less and never flooded, so that what is seen is
 * routing and not overload.
 */
import { Agent } from 'node:http';
import type { HostPort } from '../core/host-port.ts';
import { makeRequest, type RequestKind } from './app-request.ts';
import type { Tally } from './tally.ts';

export interface TrafficOptions {
  readonly outbound: HostPort;
  readonly users: number;
  readonly tally: Tally;
  /** After each response. */
  readonly onAnswer: (worker: string) => void;
}

/** Each user's day, again and again: mostly POST and GET, some streams, something local. */
const ROUND: readonly RequestKind[] = [
  'post',
  'get',
  'stream',
  'post',
  'get',
  'local',
  'post',
  'get',
  'post',
];
const MAX_PAUSE_MS = 20;

export class Traffic {
  readonly #options: TrafficOptions;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #cut = new AbortController();
  readonly #users: Promise<void>[] = [];
  #isStopping = false;

  constructor(options: TrafficOptions) {
    this.#options = options;
  }

  start(): void {
    for (let user = 1; user <= this.#options.users; user++) this.#users.push(this.#live(user));
  }

  /** No new requests; resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#users);
    this.#agent.destroy();
  }

  /** Ends all at once; what is under way counts as nothing. */
  async cut(): Promise<void> {
    this.#cut.abort();
    await this.stop();
  }

  async #live(user: number): Promise<void> {
    const { onAnswer, outbound, tally } = this.#options;
    for (let turn = user; !this.#isStopping; turn++) {
      const kind = ROUND[turn % ROUND.length] ?? 'get';
      const id = `${user}-${turn}`;
      try {
        const answer = await makeRequest({
          outbound,
          agent: this.#agent,
          kind,
          id,
          signal: this.#cut.signal,
        });
        tally.answered(kind, answer);
        onAnswer(answer.worker);
      } catch (error) {
        if (this.#cut.signal.aborted) return;
        tally.failedRequest(kind, (error as Error).message);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.random() * MAX_PAUSE_MS));
    }
  }
}
