/** What is read of a page's words: nothing that anyone sends throws, and no name of elsewhere passes for this host. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { canonicalOrigin, WebPages } from '../../sidecar/core/http/web-pages.ts';

const RULES = {
  hosts: new Set<string>(),
  origins: { any: false, loopback: true, listed: new Set(['https://app.example.org']) },
  options: { hosts: 'hosts', origins: 'origins' },
};

const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?$/);
const domain = fc
  .tuple(
    fc.array(label, { minLength: 1, maxLength: 4 }),
    fc.constantFrom('com', 'example', 'org', 'internal'),
  )
  .map(([labels, top]) => [...labels, top].join('.'));
const port = fc.option(fc.integer({ min: 1, max: 65_535 })).map((n) => (n === null ? '' : `:${n}`));

const judge = (host: string, fields: string[] = []) =>
  new WebPages(RULES).judge({ target: '/service/a/', host, fields }).kind;

describe('the words of web pages', () => {
  test('a name that anyone can register is not this host, nor is its page a page of here', () => {
    fc.assert(
      fc.property(
        domain,
        port,
        fc.constantFrom('', 'localhost.', '127.0.0.1.', 'x.mesh.'),
        (name, at, lead) => {
          const host = `${lead}${name}${at}`;
          expect(judge(host)).toBe('refused');
          expect(judge(host, ['Origin', `http://${host}`])).toBe('refused');
          expect(judge('127.0.0.1:8010', ['Origin', `http://${host}`])).toBe('refused');
        },
      ),
    );
  });

  test('addresses, names of loopback and of services are', () => {
    const own = fc.oneof(
      fc.ipV4(),
      fc.ipV6().map((ip) => `[${ip}]`),
      label.map((name) => `${name}.mesh`),
      label.map((name) => `${name}.localhost`),
      fc.constantFrom('localhost', 'LocalHost', ''),
    );
    fc.assert(
      fc.property(own, port, (name, at) => {
        expect(judge(name === '' ? '' : `${name}${at}`)).toBe('own');
      }),
    );
  });

  test('whatever stands in the three fields, the answer is a verdict, and what is not allowed is not repeated at length', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 300, unit: 'binary' }),
      domain.map((name) => `https://${name}`),
    );
    fc.assert(
      fc.property(text, text, text, (host, origin, site) => {
        const verdict = new WebPages(RULES).judge({
          target: '/',
          host,
          fields: ['ORIGIN', origin, 'Sec-Fetch-Site', site],
        });
        if (verdict.kind === 'refused') {
          expect(verdict.detail).toMatch(/^[\x20-\x7e…]+$/);
          expect(verdict.detail.length).toBeLessThan(300);
        } else if (verdict.kind === 'allowed') expect(verdict.origin).toMatch(/^https?:\/\/[^\s,]+$/);
      }),
      { numRuns: 2_000 },
    );
  });

  test('an origin is read as a browser writes it, once and for all', () => {
    fc.assert(
      fc.property(fc.constantFrom('http', 'HTTPS', 'tauri'), domain, port, (scheme, name, at) => {
        const read = canonicalOrigin(`${scheme}://${name.toUpperCase()}${at}/`);
        expect(read).toBe(
          new URL(`${scheme}://${name}${at}`).origin === 'null'
            ? `tauri://${name}${at}`
            : new URL(`${scheme}://${name}${at}`).origin,
        );
        expect(canonicalOrigin(read ?? '')).toBe(read);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const read = canonicalOrigin(text);
        if (read !== null) expect(canonicalOrigin(read)).toBe(read);
      }),
      { numRuns: 2_000 },
    );
  });
});
