/**
 * The version of this program, from its package.json.
 *
 * Works from sidecar/ and from dist/ alike, both one level below it.
 */
import { readFileSync } from 'node:fs';

export function packageVersion(): string {
  const content: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return String((content as { version?: unknown }).version);
}
