/**
 * What a worker is asked to learn whether it is well: a path, gRPC's own health service, or to take a connection.
 *
 * A union and not a path with special values, since each is asked in its own way and counts as answered by another rule.
 */

export type HealthAsk =
  /** To take a connection is enough. */
  | { readonly kind: 'connect' }
  /** By GET; 200–399 is healthy. */
  | { readonly kind: 'get'; readonly path: string }
  /** `grpc.health.v1.Health/Check`. Where it is not required, a worker that does not know it is asked for a connection. */
  | { readonly kind: 'grpc'; readonly service: string; readonly isRequired: boolean };

export const CONNECT: HealthAsk = { kind: 'connect' };

const GRPC = /^grpc(?::([A-Za-z0-9_.-]{1,200}))?$/;

/** `none`, `/health`, `grpc`, `grpc:pkg.Service`; null = none of these. Never throws. */
export function parseHealthAsk(text: string): HealthAsk | null {
  if (text === 'none') return CONNECT;
  const grpc = GRPC.exec(text);
  if (grpc !== null) return { kind: 'grpc', service: grpc[1] ?? '', isRequired: true };
  const isPath = /^\/[\x21-\x7e]{0,2047}$/.test(text) && !text.includes('#');
  return isPath ? { kind: 'get', path: text } : null;
}

/** What is asked of a worker where nobody said it. */
export function unsaidHealthAsk(scheme: 'http' | 'https' | 'h2c'): HealthAsk {
  return scheme === 'h2c' ? { kind: 'grpc', service: '', isRequired: false } : CONNECT;
}

/** The same of a worker whose URL has a base path. */
export function below(basePath: string, ask: HealthAsk): HealthAsk {
  return ask.kind === 'get' ? { kind: 'get', path: `${basePath}${ask.path}` } : ask;
}

/** For people: what has had no answer. */
export function askText(ask: HealthAsk): string {
  switch (ask.kind) {
    case 'get':
      return `GET ${ask.path}`;
    case 'grpc':
      return ask.service === '' ? 'grpc.health.v1' : `grpc.health.v1 for ${ask.service}`;
    case 'connect':
      return 'a connection';
  }
}
