/** docs/security.md tells the truth: each attack names tests, and they exist. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

const page = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8');
const NAMED = /`((?:unit|property|integration|security|e2e)\/[a-z0-9-]+)`: “([^”]+)”/g;

describe('docs/security.md', () => {
  test('each row names a test', () => {
    const rows = page.split('\n').filter((line) => line.startsWith('| ') && !/^\| (?:attack|---)/.test(line));
    expect(rows.length).toBeGreaterThan(20);
    expect(rows.filter((row) => [...row.matchAll(NAMED)].length === 0)).toStrictEqual([]);
  });

  test('each test that is named exists', () => {
    const missing = [...page.matchAll(NAMED)].filter(([, file, title]) => {
      const path = new URL(`../${file}.test.ts`, import.meta.url);
      const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
      return !["'", '"', '`'].some((quote) => text.includes(`${quote}${title}${quote}`));
    });
    expect(missing.map(([named]) => named)).toStrictEqual([]);
  });
});
