/** What a request for a service that nobody offers is told of those that are offered. */
import { expect, test } from '@jest/globals';
import { noUpstreamKnown } from '../../sidecar/proxy/outbound/no-upstream.ts';

function told(known: number, service = 'quite-another'): string {
  const names = Array.from({ length: known }, (_, n) => `service-${String(n).padStart(2, '0')}`);
  const asked = { service, attempts: [] };
  return noUpstreamKnown(asked, 'no_peers', 'Nobody offers it.', {
    directory: { absent: () => [], services: () => new Set(names) },
    services: new Map(),
    aliases: new Map(),
  }).detail;
}

test('twenty names are listed, and of more their number', () => {
  expect(told(0)).toMatch(/^Nobody offers it\. No member is known here that offers any service\.$/);
  expect(told(1)).toBe('Nobody offers it. Services known here: service-00.');
  expect(told(20)).toMatch(/, service-19\.$/);
  expect(told(21)).toMatch(/, service-19 and 1 more\.$/);
  expect(told(2, 'service-0O')).toMatch(/ Did you mean service-00\? /);
});
