/** Whatever a worker sends, the app is led to the service, or to where the worker itself said; never anywhere else. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hostInForwarded } from '../../sidecar/core/forwarding/forwarded.ts';
import { type Mount, toAppUrl, toWorkerUrl } from '../../sidecar/core/forwarding/mount.ts';
import { mapResponse } from '../../sidecar/core/forwarding/mounted-fields.ts';

const APP = 'http://127.0.0.1:8010';
const WORKER = 'http://127.0.0.1:9000';

const piece = fc.constantFrom(
  '/',
  '//',
  '\\',
  '.',
  '..',
  'a',
  'service',
  'llm',
  'base',
  '?',
  '#',
  ':',
  '@',
  '%2F',
  ';',
);
const path = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join('')}`);
const anything = fc.oneof(
  path,
  path.map((each) => `${WORKER}${each}`),
  fc
    .array(
      fc.oneof(piece, fc.constantFrom('http:', '127.0.0.1:9000', 'evil.example', '"', "'", ' ', '\t', '=')),
      { maxLength: 12 },
    )
    .map((pieces) => pieces.join('')),
  fc.string({ unit: 'binary-ascii', maxLength: 40 }),
);

function mount(prefix: string, basePath: string): Mount {
  const host = '127.0.0.1:9000';
  return {
    workerScheme: 'http',
    workerHost: host,
    basePath,
    sentHost: host,
    calledHost: '127.0.0.1:8010',
    calledScheme: 'http',
    prefix,
  };
}

const mounts = fc
  .tuple(fc.constantFrom('', '/service/llm', '/outer/service/llm'), fc.constantFrom('', '/base'))
  .map(([prefix, base]) => mount(prefix, base));

/** Where a browser goes. */
function goes(url: string, from: string): string | null {
  return URL.canParse(url, from) ? new URL(url, from).origin : null;
}

describe('URLs between worker and app', () => {
  test('no origin is reached that the worker did not name', () => {
    fc.assert(
      fc.property(anything, mounts, (url, each) => {
        const direct = goes(url, `${WORKER}/x`);
        const mapped = goes(toAppUrl(url, each), `${APP}${each.prefix}/x`);
        if (direct === WORKER) expect([APP, WORKER]).toContain(mapped);
        else if (direct !== null) expect(mapped).toBe(direct);
      }),
    );
  });

  test('a path of the worker and a path of the app are the same there and back', () => {
    fc.assert(
      fc.property(path, mounts, (each, where) => {
        const worker = `${WORKER}${where.basePath}${each}`;
        const app = toAppUrl(worker, where);
        if (app === worker || each.startsWith(where.prefix === '' ? '//' : where.prefix)) return;
        if (where.prefix === '' && /^\/[/\\]/.test(each)) return;
        expect(app).toBe(`${where.prefix}${each}`);
        expect(toWorkerUrl(`${APP}${app}`, '127.0.0.1:8010', where)).toBe(worker);
      }),
    );
  });

  test('what is mapped once is not mapped again where there is a prefix', () => {
    fc.assert(
      fc.property(anything, (url) => {
        const once = toAppUrl(url, mount('/service/llm', ''));
        expect(toAppUrl(once, mount('/service/llm', ''))).toBe(once);
      }),
    );
  });

  test('any field stays one line, and everything but URLs and paths stays in it', () => {
    const value = fc.string({ unit: fc.constantFrom(...'/;=., "\'PpathurlRefsDomain5:\\\t'), maxLength: 60 });
    fc.assert(
      fc.property(fc.constantFrom('Refresh', 'Set-Cookie', 'Location'), value, mounts, (name, text, each) => {
        const fields = [name, text];
        mapResponse(fields, each);
        expect(fields[0]).toBe(name);
        expect(fields[1]).not.toMatch(/[\r\n]/);
        if (each.prefix === '' && each.basePath === '' && name === 'Set-Cookie' && !/domain/i.test(text))
          expect(fields[1]?.replace(/[ \t]/g, '')).toBe(text.replace(/[ \t]/g, ''));
      }),
    );
  });

  test('the host in Forwarded is a host or nothing', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...';host="a.b:1,proto=http[]\\@/ '), maxLength: 60 }),
        (text) => {
          expect(hostInForwarded(`${text};host=${text};proto=http`)).not.toMatch(/[\s"\\@/,;]/);
        },
      ),
    );
    expect(
      hostInForwarded('for=1.1.1.1;host=evil;proto=http, for=_a;by=_b;host="llm.mesh:8010";proto=http'),
    ).toBe('llm.mesh:8010');
    expect(hostInForwarded('for=1.1.1.1;by=_a;host=evil;proto=http, for=_a;by=_b;proto=http')).toBe('');
  });
});
