/**
 * One request of an app and the worker's answer to it, both as bytes, through a pair of sidecars; what each end saw.
 *
 *
 */
import type { RequestHead } from '../../../sidecar/core/http/message.ts';
import type { SidecarPair } from '../meshes/sidecar-pair.ts';
import type { Wire } from './wire.ts';
import { answer, type Received, type ReceivedAnswer, request } from './wire-messages.ts';

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

export interface Exchange {
  readonly sent: Received<RequestHead>;
  readonly got: ReceivedAnswer;
  readonly client: Wire;
  readonly worker: Wire;
}

/** A request line and fields for the one service; `lines` each end in CRLF. */
export function requestTo(target: string, lines = '', method = 'GET', version = '1.1'): string {
  return `${method} /service/llm-inference${target} HTTP/${version}\r\nHost: app.example:8010\r\n${lines}\r\n`;
}

/** On a connection of its own. `method` tells how long the response is. */
export async function exchange(
  pair: SidecarPair,
  text: string,
  reply: string = OK,
  method = 'GET',
): Promise<Exchange> {
  const client = await pair.client();
  client.send(text);
  const idle = pair.b.origin.connections.findLast((wire) => wire.end === null);
  const worker = idle ?? (await pair.b.origin.connection());
  const sent = await request(worker);
  worker.send(reply);
  return { sent, got: await answer(client, method), client, worker };
}

/** A request that no worker is to see. */
export async function refused(pair: SidecarPair, text: string, method = 'GET'): Promise<ReceivedAnswer> {
  const client = await pair.client();
  client.send(text);
  return answer(client, method);
}
