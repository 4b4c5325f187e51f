/** URLs of the worker as the app has to call them, and those of the app's pages as the worker has to read them. */
import { describe, expect, test } from '@jest/globals';
import { type Mount, toAppUrl, toWorkerUrl } from '../../sidecar/core/forwarding/mount.ts';
import {
  mapRequest,
  mapResponse,
  namesPage,
  namesUrls,
} from '../../sidecar/core/forwarding/mounted-fields.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const BY_PATH: Mount = {
  workerScheme: 'http',
  workerHost: '127.0.0.1:9000',
  basePath: '',
  sentHost: '127.0.0.1:9000',
  calledHost: '127.0.0.1:8010',
  calledScheme: 'http',
  prefix: '/service/llm',
};
const BY_HOST: Mount = { ...BY_PATH, calledHost: 'llm.mesh:8010', prefix: '' };
const BY_FIELD: Mount = { ...BY_PATH, prefix: '' };
const BASED: Mount = { ...BY_PATH, basePath: '/base' };
const KEPT: Mount = { ...BY_PATH, sentHost: '127.0.0.1:8010' };

function urls(mount: Mount, cases: Readonly<Record<string, string>>): void {
  for (const [url, wanted] of Object.entries(cases)) expectNamed(toAppUrl(url, mount), url).toBe(wanted);
}

function field(name: string, value: string, mount: Mount): string {
  const fields = [name, value];
  mapResponse(fields, mount);
  return fields[1] as string;
}

describe('a URL that the worker sends', () => {
  test('that names its own origin gets the prefix by which the app called', () => {
    urls(BY_PATH, {
      'http://127.0.0.1:9000/items/': '/service/llm/items/',
      'HTTP://127.0.0.1:9000': '/service/llm/',
      'http://127.0.0.1:9000?a=/b#c': '/service/llm/?a=/b#c',
      'http://localhost:9000/x': '/service/llm/x',
      'http://[::1]:9000/x': '/service/llm/x',
      'http://0.0.0.0:9000/x': '/service/llm/x',
      '//127.0.0.1:9000/x': '/service/llm/x',
      'http://127.0.0.1:8010/x': '/service/llm/x',
      'http://127.0.0.1:9000//evil.example': '/service/llm//evil.example',
    });
  });

  test('that is a path alone gets the prefix, once', () => {
    urls(BY_PATH, {
      '/': '/service/llm/',
      '/ui/?q#f': '/service/llm/ui/?q#f',
      '/service/llm': '/service/llm',
      '/service/llm/ui': '/service/llm/ui',
      '/service/llm?x': '/service/llm?x',
      '/service/llmx': '/service/llm/service/llmx',
      'http://127.0.0.1:8010/service/llm/ui': '/service/llm/ui',
    });
  });

  test('that names another origin, or is relative, stays as it is', () => {
    for (const mount of [BY_PATH, BY_HOST, BY_FIELD, BASED]) {
      for (const url of [
        'http://127.0.0.1:9001/x',
        'http://127.0.0.1/x',
        'https://127.0.0.1:9000/x',
        'http://example.org/service/llm/',
        '//example.org/x',
        '/\\example.org/x',
        'http://user@127.0.0.1:9000/x',
        'http://127.0.0.1:9000@example.org/x',
        'http://127.0.0.1:9000\\@example.org/',
        'http://127.0.0.1:90000/x',
        'http:/x',
        'ftp://127.0.0.1:9000/x',
        'javascript:alert(1)',
        'x/y',
        '../x',
        '?a',
        '#b',
        '',
      ])
        expectNamed(toAppUrl(url, mount), url).toBe(url);
    }
  });

  test('comes back by the name by which the app called', () => {
    urls(BY_HOST, {
      'http://127.0.0.1:9000/items/': 'http://llm.mesh:8010/items/',
      '/items/': '/items/',
      'http://llm.mesh:8010/x': 'http://llm.mesh:8010/x',
    });
    urls(BY_FIELD, {
      'http://127.0.0.1:9000/items/': '/items/',
      'http://127.0.0.1:9000//evil.example/': '/.//evil.example/',
      'http://127.0.0.1:9000/\\evil.example/': '/./\\evil.example/',
    });
  });

  test('loses the base path, which the app does not call', () => {
    urls(BASED, {
      'http://127.0.0.1:9000/base/x': '/service/llm/x',
      '/base': '/service/llm/',
      '/base?x': '/service/llm/?x',
      '/base/': '/service/llm/',
      '/basement': '/basement',
      'http://127.0.0.1:9000/other': 'http://127.0.0.1:9000/other',
    });
    urls(
      { ...BASED, prefix: '' },
      { '/base/x': '/x', '/base//evil.example': '/.//evil.example', '/x': '/x' },
    );
  });

  test('is known by the Host that the worker was sent, and by the scheme that it was told', () => {
    urls(KEPT, { 'http://127.0.0.1:8010/x': '/service/llm/x', 'http://127.0.0.1:9000/x': '/service/llm/x' });
    const named = { ...BY_PATH, sentHost: 'Jupyter.example' };
    urls(named, {
      'http://jupyter.example:80/x': '/service/llm/x',
      'http://jupyter.example:8080/x': 'http://jupyter.example:8080/x',
    });
    const outer = {
      ...BY_PATH,
      calledHost: 'outer.example',
      calledScheme: 'https',
      prefix: '/outer/service/llm',
    };
    urls(outer, {
      'https://outer.example/x': '/outer/service/llm/x',
      'https://127.0.0.1:9000/x': '/outer/service/llm/x',
    });
    // What was told and is no host names nothing.
    urls({ ...BY_PATH, calledHost: 'a, b' }, { 'http://a, b/x': 'http://a, b/x' });
    urls({ ...BY_FIELD, calledHost: 'x"\t.mesh' }, { 'http://127.0.0.1:9000/x': '/x' });
  });
});

describe('the fields of a response', () => {
  test('Location, Content-Location and Refresh are mapped, in any spelling of their names', () => {
    for (const name of ['Location', 'location', 'CONTENT-LOCATION', 'Refresh'])
      expectNamed(field(name, '/x', BY_PATH), name).toBe('/service/llm/x');
    for (const name of ['X-Location', 'Content-locatio', 'Refreshx', 'Link', 'Set-Cookie2'])
      expectNamed(field(name, '/x', BY_PATH), name).toBe('/x');
    expect(namesUrls(['A', 'b', 'Location', '/'])).toBe(true);
    expect(namesUrls(['Server', 'x', 'Content-Length', '1'])).toBe(false);
  });

  test('Refresh is read as browsers read it', () => {
    for (const [value, wanted] of Object.entries({
      '5; url=http://127.0.0.1:9000/x': '5; url=/service/llm/x',
      '0;URL="/x"; more': '0;URL="/service/llm/x"; more',
      "1.5 , url = '/x'": "1.5 , url = '/service/llm/x'",
      '3; /x': '3; /service/llm/x',
      '3; url=https://example.org/': '3; url=https://example.org/',
      '5': '5',
      '': '',
      '5; url="/x': '5; url="/service/llm/x',
    }))
      expectNamed(field('Refresh', value, BY_PATH), value).toBe(wanted);
  });

  test('a cookie is one for the paths of the service', () => {
    const cases: readonly (readonly [Mount, string, string])[] = [
      [BY_PATH, 's=1; Path=/; HttpOnly', 's=1; Path=/service/llm/; HttpOnly'],
      [BY_PATH, 's=1;path= /api ;Secure', 's=1;path=/service/llm/api;Secure'],
      [BY_PATH, 's=1; Path=/service/llm/api', 's=1; Path=/service/llm/api'],
      [BY_PATH, 's=1', 's=1'],
      [BY_PATH, 's=1; Path=x; Path', 's=1; Path=x; Path'],
      [BY_PATH, 'Path=/; a=b', 'Path=/; a=b'],
      [BY_PATH, 's="a;b"; Path=/', 's="a;b"; Path=/service/llm/'],
      [BY_PATH, '__host-s=1; Secure; Path=/', '__host-s=1; Secure; Path=/'],
      [BY_PATH, '__Secure-s=1; Secure; Path=/', '__Secure-s=1; Secure; Path=/service/llm/'],
      [BY_PATH, 's=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT', 's=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT'],
      [BY_HOST, 's=1; Path=/api', 's=1; Path=/api'],
      [BASED, 's=1; Path=/', 's=1; Path=/service/llm/'],
      [BASED, 's=1; Path=/base', 's=1; Path=/service/llm/'],
      [BASED, 's=1; Path=/base/x', 's=1; Path=/service/llm/x'],
      [BASED, 's=1; Path=/other', 's=1; Path=/other'],
      [{ ...BASED, prefix: '' }, 's=1; Path=/base/x', 's=1; Path=/x'],
    ];
    for (const [mount, cookie, wanted] of cases)
      expectNamed(field('Set-Cookie', cookie, mount), cookie).toBe(wanted);
  });

  test("a cookie of the worker's own host becomes one of the host that was called", () => {
    expect(field('Set-Cookie', 's=1; Domain=127.0.0.1; Path=/', BY_HOST)).toBe('s=1; Path=/');
    expect(field('Set-Cookie', 's=1; Domain=127.0.0.1', BY_PATH)).toBe('s=1; Domain=127.0.0.1');
    expect(field('Set-Cookie', 's=1; domain=.Example.org', BY_PATH)).toBe('s=1; domain=.Example.org');
  });
});

describe('a page that came through the sidecar', () => {
  const asked = (mount: Mount, calledHost: string, origin: string): string =>
    toWorkerUrl(origin, calledHost, mount);

  test('is for the worker one of its own', () => {
    for (const host of [
      '127.0.0.1:8010',
      'localhost:8010',
      '[::1]:8010',
      '10.42.0.7:8010',
      'llm.mesh',
      'LLM.mesh:80',
    ])
      expectNamed(asked(BY_PATH, host, `http://${host.toLowerCase()}`), host).toBe('http://127.0.0.1:9000');
    const fields = ['Origin', 'http://127.0.0.1:8010', 'referer', 'http://127.0.0.1:8010/service/llm/lab?x'];
    expect(namesPage(fields)).toBe(true);
    // Others of as many letters.
    const others = ['X-Page', 'http://127.0.0.1:8010', 'X-Pages', 'http://127.0.0.1:8010/service/llm/lab?x'];
    expect(namesPage(others)).toBe(false);
    const both = [...fields, ...others];
    mapRequest(both, '127.0.0.1:8010', BASED);
    expect(both.slice(fields.length)).toStrictEqual(others);
    mapRequest(fields, '127.0.0.1:8010', BASED);
    expect(fields).toStrictEqual([
      'Origin',
      'http://127.0.0.1:9000',
      'referer',
      'http://127.0.0.1:9000/base/lab?x',
    ]);
  });

  test('of another site, or by a name that a stranger can give to this host, stays what it is', () => {
    for (const [host, origin] of [
      ['127.0.0.1:8010', 'http://127.0.0.1:8011'],
      ['127.0.0.1:8010', 'https://127.0.0.1:8010'],
      ['127.0.0.1:8010', 'http://localhost:8010'],
      ['127.0.0.1:8010', 'http://127.0.0.1:8010.evil.example'],
      ['127.0.0.1:8010', 'http://127.0.0.1:8010@evil.example'],
      ['127.0.0.1:8010', 'null'],
      ['127.0.0.1:8010', ''],
      ['attacker.example:8010', 'http://attacker.example:8010'],
      ['127.0.0.1.attacker.example', 'http://127.0.0.1.attacker.example'],
      ['', 'http://127.0.0.1:8010'],
    ] as const)
      expectNamed(asked(BY_PATH, host, origin), `${origin} by ${host}`).toBe(origin);
    const other = 'http://127.0.0.1:8010/service/other/page';
    expectNamed(asked(BY_PATH, '127.0.0.1:8010', other), 'a page of another service').toBe(other);
  });
});
