/**
 * POSTs of all kinds to one sidecar, so many at a time, each with an id of its own, and what became of each.
 *
 * Bodies from none to more than a sidecar keeps for sending again, with and without a length, sometimes after
 * `100 Continue`; some clients leave.
 */
import http from 'node:http';
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { Random } from '../../../sim/random.ts';
import { receipt } from '../workers/unruly-worker.ts';

export interface Storm {
  readonly to: HostPort;
  readonly count: number;
  readonly atOnce: number;
  readonly random: Random;
  /** For ids. */
  readonly name: string;
  readonly target: string;
  /** Whether this one carries `Idempotency-Key`. */
  hasKey(random: Random): boolean;
}

export interface PostEnd {
  readonly id: string;
  /**
   * `ok`: a whole 2xx; `refused`: an error of the sidecar; `cut`: no response, or one that broke; `left`: the client did;
   * `wrong`: a 2xx that is not the worker's receipt for what was sent.
   */
  readonly end: 'ok' | 'refused' | 'cut' | 'left' | 'wrong';
  readonly detail: string;
}

/** Those of the pool are not more than the sidecar's replay limit; the last two are. */
const SIZES = [0, 0, 1, 30, 500, 4_000, 16_000, 60_000, 70_000, 100_000];
const EXPECT_RATIO = 0.1;
const CHUNKED_RATIO = 0.4;
const LEAVING_RATIO = 0.02;
const CONTINUE_LIMIT_MS = 1_000;
const LIMIT_MS = 30_000;

/** Resolves when each has ended. */
export async function storm({ atOnce, count, random, ...way }: Storm): Promise<PostEnd[]> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: atOnce });
  const ends: PostEnd[] = [];
  let sent = 0;
  const send = async (): Promise<void> => {
    while (sent < count) {
      const id = `${way.name}-${++sent}`;
      ends.push(await post(id, agent, random, way));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, send));
  agent.destroy();
  return ends;
}

function post(
  id: string,
  agent: http.Agent,
  random: Random,
  { hasKey, target, to }: Pick<Storm, 'to' | 'target' | 'hasKey'>,
): Promise<PostEnd> {
  const body = Buffer.alloc(SIZES[random.index(SIZES.length)] ?? 0, id);
  const isExpecting = body.length > 0 && random.next() < EXPECT_RATIO;
  const isChunked = random.next() < CHUNKED_RATIO;
  const leavesAfterMs = random.next() < LEAVING_RATIO ? random.next() * 30 : null;
  const headers: http.OutgoingHttpHeaders = { 'x-id': id };
  if (hasKey(random)) headers['idempotency-key'] = id;
  if (isChunked) headers['transfer-encoding'] = 'chunked';
  else headers['content-length'] = body.length;
  if (isExpecting) headers.expect = '100-continue';
  const { host, port } = to;
  return new Promise((resolve) => {
    const request = http.request({ host, port, method: 'POST', path: target, headers, agent });
    const timers = [setTimeout(() => settle('wrong', 'neither answer nor end'), LIMIT_MS)];
    let isOver = false;
    const settle = (end: PostEnd['end'], detail: string): void => {
      if (isOver) return;
      isOver = true;
      for (const timer of timers) clearTimeout(timer);
      // Also one that was refused before all of it was sent.
      if (end !== 'ok' || !request.writableFinished) request.destroy();
      resolve({ id, end, detail });
    };
    request.on('error', (error) => settle('cut', error.message));
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => settle('cut', error.message));
      response.on('close', () => settle('cut', 'closed'));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (!response.complete) settle('cut', 'not complete');
        else if (response.statusCode !== 200) settle('refused', `${response.statusCode} ${text}`);
        else if (text === receipt(id, body)) settle('ok', '');
        else settle('wrong', text);
      });
    });
    if (leavesAfterMs !== null) timers.push(setTimeout(() => settle('left', ''), leavesAfterMs));
    if (!isExpecting) {
      write(request, body, isChunked);
      return;
    }
    // A client may send after a while without it (RFC 9110 §10.1.1).
    let isWritten = false;
    const go = (): void => {
      if (!isWritten && !isOver) write(request, body, isChunked);
      isWritten = true;
    };
    request.on('continue', go);
    timers.push(setTimeout(go, CONTINUE_LIMIT_MS));
    request.flushHeaders();
  });
}

/** In pieces, if it is not known how long it is. */
function write(request: http.ClientRequest, body: Buffer, isChunked: boolean): void {
  if (isChunked && body.length > 1) {
    const half = body.length >> 1;
    request.write(body.subarray(0, half));
    setImmediate(() => {
      if (!request.destroyed) request.end(body.subarray(half));
    });
  } else request.end(body);
}
