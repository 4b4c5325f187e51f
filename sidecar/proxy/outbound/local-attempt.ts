/**
 * An attempt on the worker beside this sidecar, for an app's request.
 */
import { endToEndTrailers } from '../../core/forwarding/end-to-end.ts';
import type { RawFields } from '../../core/http/message.ts';
import type { AttemptOutcome } from '../../http/attempt-outcome.ts';
import { interimHeaders, repeatedFields, responseHeaders } from '../hop-headers.ts';
import { forApp, workerRequest } from '../worker/worker-hop.ts';
import { refusedText } from './attempt-trace.ts';
import type { RequestReport } from './report.ts';
import type { OutboundRequest } from './request.ts';
import type { LocalTarget } from './target.ts';
import type { TargetSelector } from './target-selector.ts';

export interface LocalAttemptOptions {
  readonly pseudonym: string;
  readonly trustForwarded: boolean;
}

interface LocalAttemptContext {
  readonly request: OutboundRequest;
  readonly selector: Pick<TargetSelector, 'hasOther'>;
  readonly report: Pick<RequestReport, 'pushResponseHeaders'>;
  /** How it ended; once, maybe before `attemptLocal` returns. Never throws. */
  ended(outcome: AttemptOutcome): void;
  /** In its place, a fault of this program. Never throws. */
  faulted(error: unknown): void;
}

export function attemptLocal(
  target: LocalTarget,
  context: LocalAttemptContext,
  { pseudonym, trustForwarded }: LocalAttemptOptions,
): void {
  const { request, selector, report } = context;
  const { downstream, relay, deadline } = request;
  const { service } = target;
  const { instances } = service;
  let asked = instances.first;
  const facts = {
    version: downstream.version,
    clientIp: downstream.remoteAddress,
    pseudonym,
    trusted: trustForwarded,
    prefix: request.prefix,
    sender: 'app',
  } as const;
  let head = workerRequest(asked, request.target, downstream.head, facts);
  service.attempt({
    downstream,
    relay,
    head,
    headFor: !instances.hasSeveral
      ? null
      : (instance) => {
          asked = instance;
          head = workerRequest(asked, request.target, downstream.head, facts);
          return head;
        },
    callerKey: '',
    expectedQueue: null,
    sinceMs: request.sinceMs,
    judge: (response, answer, _holdsSlot, mayGoOn) => {
      const first = repeatedFields(response, pseudonym);
      const fields =
        first === null
          ? forApp(asked, head, responseHeaders(response.fields, response.version, pseudonym))
          : [...first.fields];
      if (mayGoOn || (answer === 'refused' && request.mayAskAnother && selector.hasOther)) {
        const passedOn = (to: RawFields): void => report.pushResponseHeaders(to, target);
        return { kind: 'hold', fields, detail: refusedText(response.status), passedOn };
      }
      report.pushResponseHeaders(fields, target);
      return { kind: 'forward', fields, first };
    },
    informational: (fields) => forApp(asked, head, interimHeaders(fields, '1.1', pseudonym)),
    trailers: endToEndTrailers,
    deadline: deadline?.passed ?? null,
    ended: (outcome) => context.ended(outcome),
    faulted: (error) => context.faulted(error),
  });
}
