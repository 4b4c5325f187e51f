/** docs/http.md tells the truth: its tests exist, its sections are all there, its differences are those that are tested. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import {
  ANSWER_DIFFERENCES,
  type Difference,
  REQUEST_DIFFERENCES,
} from '../support/generators/documented-differences.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const page = readFileSync(new URL('../../docs/http.md', import.meta.url), 'utf8');

/** Sections with requirements on whoever forwards; each has a row. */
const SECTIONS: Readonly<Record<string, readonly string[]>> = {
  'RFC 9110': [
    ...[
      '2.5',
      '4.2.4',
      '5.1',
      '5.3',
      '5.4',
      '5.5',
      '6.5.1',
      '6.6.1',
      '7.2',
      '7.4',
      '7.5',
      '7.6',
      '7.6.1',
      '7.6.2',
    ],
    ...['7.6.3', '7.7', '7.8', '8.6', '9.1', '9.2.2', '9.3.2', '9.3.6', '9.3.7', '9.3.8', '10.1.1', '10.1.4'],
    ...['11.7', '15.2', '15.6.3', '15.6.5'],
  ],
  'RFC 9112': [
    ...[
      '2.2',
      '2.3',
      '3',
      '3.2',
      '3.2.1',
      '3.2.2',
      '3.2.4',
      '4',
      '5.1',
      '5.2',
      '6.1',
      '6.2',
      '6.3',
      '7.1',
      '7.1.1',
    ],
    ...['7.1.2', '7.4', '8', '9.2', '9.3', '9.3.1', '9.3.2', '9.5', '9.6', '9.8'],
  ],
};

interface Row {
  readonly sections: readonly string[];
  readonly cells: readonly string[];
}

function rowsOf(heading: string): Row[] {
  const from = page.indexOf(`### ${heading}`);
  expectNamed(from, heading).toBeGreaterThanOrEqual(0);
  const part = page.slice(from, page.indexOf('\n#', from + 1));
  return part
    .split('\n')
    .filter((line) => line.startsWith('| §'))
    .map((line) => line.split(' | '))
    .map((cells) => ({
      sections: [...(cells[0] as string).matchAll(/§([\d.]+)/g)].map((match) => match[1] as string),
      cells,
    }));
}

describe('docs/http.md', () => {
  for (const [rfc, wanted] of Object.entries(SECTIONS)) {
    test(`${rfc}: every section has its row`, () => {
      const found = new Set(rowsOf(rfc).flatMap(({ sections }) => sections));
      expect(wanted.filter((section) => !found.has(section))).toStrictEqual([]);
    });

    test(`${rfc}: every row names tests that exist`, () => {
      const missing: string[] = [];
      for (const { cells } of rowsOf(rfc)) {
        expectNamed(cells, cells.join(' | ')).toHaveLength(4);
        const named = [
          ...(cells[3] as string).matchAll(/`((?:unit|integration|property)\/[a-z0-9-]+)`: “([^”]+)”/g),
        ];
        if (named.length === 0) missing.push(`no test: ${cells[1]}`);
        for (const [, file, title] of named) {
          const path = new URL(`../${file}.test.ts`, import.meta.url);
          const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
          const isThere = ["'", '"', '`'].some((quote) => text.includes(`${quote}${title}${quote}`));
          if (!isThere) missing.push(`${file}: ${title}`);
        }
      }
      expect(missing).toStrictEqual([]);
    });
  }

  function tableUnder(heading: string): string[] {
    const from = page.indexOf(`### ${heading}`);
    expectNamed(from, heading).toBeGreaterThanOrEqual(0);
    return page
      .slice(from, page.indexOf('\n#', from + 1))
      .split('\n')
      .filter((line) => line.startsWith('| '))
      .slice(2);
  }

  test('the tables of differences are the list that the exchanges are compared by', () => {
    const rows = (list: readonly Difference[]): string[] =>
      list.map(({ fields, what }) => `| ${fields} | ${what} |`);
    expect(tableUnder('The request, as the worker sees it')).toStrictEqual(rows(REQUEST_DIFFERENCES));
    expect(tableUnder('The response, as the app sees it')).toStrictEqual(rows(ANSWER_DIFFERENCES));
  });
});
