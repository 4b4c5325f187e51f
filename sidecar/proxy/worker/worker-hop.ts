/**
 * The last hop: a request as the worker gets it, and its answers as the app has to read them, each in the URLs of the
 * one who reads it (core/forwarding/mount).
 *
 * Both ways here, since this sidecar alone knows the worker's own host and paths; where the app stands, the request
 * says in the very fields that tell the worker. Those are not signed: who could change them on the way could change
 * the whole message, which the VPN or TLS prevents.
 */
import type { Mount } from '../../core/forwarding/mount.ts';
import { mapRequest, mapResponse, namesPage, namesUrls } from '../../core/forwarding/mounted-fields.ts';
import { first } from '../../core/http/headers.ts';
import { FieldLines } from '../../core/http/http1-encode.ts';
import type { RawFields, RequestHead } from '../../core/http/message.ts';
import type { OutgoingHead } from '../../http/exchange.ts';
import { calledHost, type HopFacts, outgoingBody, outgoingUpgrade, requestHeaders } from '../hop-headers.ts';
import type { WorkerInstance } from './worker-instance.ts';

type Worker = Pick<WorkerInstance, 'basePath' | 'host' | 'scheme' | 'sentHost'> & {
  readonly siblings?: readonly Pick<WorkerInstance, 'basePath' | 'host' | 'scheme'>[];
};

/** `target`: for the service, without the base path of the worker's URL. */
export function workerRequest(
  worker: Worker,
  target: string,
  head: RequestHead,
  facts: HopFacts,
): OutgoingHead {
  const { repeated } = head;
  const made = repeated?.made;
  if (made instanceof WorkerHead && made.isOf(worker, head.method, facts.prefix))
    return { ...made.head, target: targetFor(worker, target) };
  const fields = requestHeaders(head, facts);
  const host = hostFor(worker, head, facts);
  if (worker.sentHost.kind !== 'keep' && namesPage(fields))
    mapRequest(fields, calledHost(head, facts.sender), mountOf(worker, host, fields));
  const sent = {
    method: head.method,
    target: targetFor(worker, target),
    host,
    fields,
    body: outgoingBody(head),
    upgrade: outgoingUpgrade(head),
  };
  if (repeated === undefined) return sent;
  const kept = { ...sent, first: new FieldLines(fields) };
  repeated.made = new WorkerHead(worker, facts.prefix, kept);
  return kept;
}

function targetFor({ basePath }: Worker, target: string): string {
  return target === '*' ? target : `${basePath}${target}`;
}

/** What requests of one connection that repeat their fields come to: all else that decides about it is the connection's. */
class WorkerHead {
  readonly head: OutgoingHead;
  readonly #worker: Worker;
  readonly #prefix: string;

  constructor(worker: Worker, prefix: string, head: OutgoingHead) {
    this.#worker = worker;
    this.#prefix = prefix;
    this.head = head;
  }

  /** A method counts hops or does not, and a prefix is told to the worker. */
  isOf(worker: Worker, method: string, prefix: string): boolean {
    return this.#worker === worker && this.head.method === method && this.#prefix === prefix;
  }
}

/** Fields of any answer to it, changed in place. */
export function forApp(worker: Worker, { host, fields: sent }: OutgoingHead, fields: RawFields): RawFields {
  if (namesUrls(fields)) mapResponse(fields, mountOf(worker, host, sent));
  return fields;
}

function hostFor({ host, sentHost }: Worker, head: RequestHead, { sender }: HopFacts): string {
  switch (sentHost.kind) {
    case 'worker':
      return host;
    case 'name':
      return sentHost.name;
    case 'keep':
      return calledHost(head, sender) || host;
  }
}

function mountOf(worker: Worker, sentHost: string, sent: RawFields): Mount {
  const { basePath, host: workerHost, scheme: workerScheme, siblings = [] } = worker;
  const mount = {
    workerScheme,
    workerHost,
    basePath,
    sentHost,
    calledHost: first(sent, 'x-forwarded-host') ?? '',
    calledScheme: first(sent, 'x-forwarded-proto') ?? 'http',
    prefix: first(sent, 'x-forwarded-prefix') ?? '',
  };
  if (siblings.length === 0) return mount;
  const others = siblings.map(({ basePath, host, scheme }) => ({
    ...mount,
    workerScheme: scheme,
    workerHost: host,
    basePath,
    sentHost: host,
  }));
  return { ...mount, siblings: others };
}
