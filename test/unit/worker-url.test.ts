/** How the URL of a worker may be written. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { workerUrl } from '../../sidecar/config/worker-url.ts';
import { expectNamed } from '../support/runner/expectations.ts';

describe('the URL of a worker', () => {
  test.each([
    [
      'http://127.0.0.1:9000/api/v2/',
      'http',
      '127.0.0.1',
      9000,
      '/api/v2',
      null,
      'http://127.0.0.1:9000/api/v2',
    ],
    ['HTTPS://Worker/base', 'https', 'worker', 443, '/base', null, 'https://worker/base'],
    ['https://[::1]:9443', 'https', '::1', 9443, '', null, 'https://[::1]:9443'],
    ['h2c://127.0.0.1:50051', 'h2c', '127.0.0.1', 50_051, '', null, 'h2c://127.0.0.1:50051'],
    ['unix:/run/w.sock', 'http', 'localhost', 80, '', '/run/w.sock', 'unix:/run/w.sock'],
    ['unix:///run/w.sock', 'http', 'localhost', 80, '', '/run/w.sock', 'unix:/run/w.sock'],
    ['UNIX:/run/W.sock:/v1/', 'http', 'localhost', 80, '/v1', '/run/W.sock', 'unix:/run/W.sock:/v1'],
    ['unix:/w:llm.local:8080/v1', 'http', 'llm.local', 8080, '/v1', '/w', 'unix:/w:llm.local:8080/v1'],
    ['unix:/w:llm.local', 'http', 'llm.local', 80, '', '/w', 'unix:/w:llm.local'],
    ['h2c+unix:/run/g.sock', 'h2c', 'localhost', 80, '', '/run/g.sock', 'h2c+unix:/run/g.sock'],
    ['http+unix://%2Frun%2Fw.sock/v1', 'http', 'localhost', 80, '/v1', '/run/w.sock', 'unix:/run/w.sock:/v1'],
  ] as const)('%s', (text, scheme, host, port, basePath, socketPath, url) => {
    expect(workerUrl(text)).toStrictEqual({ scheme, host, port, basePath, socketPath, url });
  });

  test.each([
    ['ftp://a', /starts with http:\/\/, https:\/\/, h2c:\/\/ or unix:\//],
    ['unix:w.sock', /whole path of a socket/],
    ['unix:', /whole path of a socket/],
    ['unix:@abstract', /whole path of a socket/],
    ['unix:/run/', /whole path of a socket/],
    ['unix://host/run/w.sock', /whole path of a socket/],
    [`unix:/${'a'.repeat(107)}`, /longer than the 107 bytes/],
    ['unix:/w.sock?x', /holds a sign/],
    ['unix:/w.sock:/v1?x', /no \? and no #/],
    ['unix:/w.sock:a:b@c/', /user or password/],
    ['http+unix://%2Fa%ff', /percent-encoded/],
    ['http+unix://%2Fa%00b', /holds a sign/],
    ['https+unix:/w.sock', /starts with/],
    ['http://', /starts with/],
    ['https://u:p@host', /user or password/],
  ])('%s is a mistake, and says which', (text, why) => {
    expect(() => workerUrl(text)).toThrow(why);
  });

  test('as it is shown is read as the same, and anything else is an error in words', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string().map((rest) => `unix:/${rest}`),
      fc.webUrl(),
      fc.webPath().map((path) => `unix:/run/w.sock:${path}`),
    );
    fc.assert(
      fc.property(text, (given) => {
        try {
          const read = workerUrl(given);
          expectNamed(workerUrl(read.url), given).toStrictEqual(read);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expectNamed((error as Error).name, String((error as Error).stack)).toBe('Error');
        }
      }),
    );
  });
});
