/**
 * How each service is called: its configured time-outs and opt-ins, looked up once per request.
 *
 * Made from the configuration at the start, so that the request path reads one map. It must not know requests.
 */
import type { Config } from '../config/config.ts';
import type { CallPolicy } from '../proxy/outbound/options.ts';

/** The policy of a service; the default for one that the configuration does not name. */
export function callPolicies(config: Config): (service: string) => CallPolicy {
  const policies = new Map<string, CallPolicy>();
  const policyOf = ({ timeouts, retryPost }: Config['calls']['default']): CallPolicy => {
    const { headMs, idleMs, vpnConnectMs, tunnelConnectMs } = timeouts;
    return {
      vpn: { connectMs: vpnConnectMs, headMs, idleMs },
      tunnel: { connectMs: tunnelConnectMs, headMs, idleMs },
      retryPost,
    };
  };
  for (const [service, call] of config.calls.byService) policies.set(service, policyOf(call));
  const fallback = policyOf(config.calls.default);
  return (service) => policies.get(service) ?? fallback;
}
