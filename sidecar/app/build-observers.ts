/**
 * What the request path tells, handed to metrics, the request log and the count of what runs.
 *
 * Composition only: proxy/ declares what it tells, observe/ what it takes.
 */

import type { InFlightCount } from '../http/in-flight-count.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { RequestHistory } from '../observe/request-history.ts';
import type { InboundObserver, OutboundObserver } from '../proxy/observers.ts';
import type { MalformedLog } from './malformed-log.ts';

export function inboundObserver(
  metrics: Metrics,
  activity: InFlightCount,
  malformed: MalformedLog,
  internalError: (error: unknown) => void,
): InboundObserver {
  return {
    inboundStarted() {
      activity.began();
      metrics.inboundStarted();
    },
    inboundFinished(request) {
      metrics.inboundFinished(request);
      malformed.inbound(request);
      activity.ended();
    },
    inputRefused: (kind, reason) => metrics.inputRefused(kind, reason),
    internalError,
  };
}

export function outboundObserver(
  metrics: Metrics,
  requests: RequestHistory,
  activity: InFlightCount,
  malformed: MalformedLog,
  internalError: (error: unknown) => void,
): OutboundObserver {
  return {
    requestStarted() {
      activity.began();
      metrics.requestStarted();
    },
    requestFinished(request) {
      metrics.requestFinished(request);
      requests.add(request);
      malformed.outbound(request);
      activity.ended();
    },
    requestRouted: (to) => metrics.requestRouted(to),
    decided: (us) => metrics.decided(us),
    attempted: (route) => metrics.attempted(route),
    attemptFailed: (code) => metrics.attemptFailed(code),
    retried: (code) => metrics.retried(code),
    retryRefused: () => metrics.retryRefused(),
    migrated: () => metrics.migrated(),
    internalError,
  };
}
