import { readFileSync } from 'node:fs';
import { describe, test } from '@jest/globals';
import { CODES } from '../../sidecar/core/errors.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

const page = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8');

describe('docs/troubleshooting.md', () => {
  test('every code has its row, with its status', () => {
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));
    for (const [code, { status }] of Object.entries(CODES)) {
      const row = rows.find((line) => line.split('|')[1]?.includes(`\`${code}\``));
      mustHold(row, `no row for ${code}`);
      expectNamed(
        row.split('|')[2]?.includes(String(status)),
        `the row of ${code} lacks ${status}`,
      ).toBeTruthy();
    }
  });
});
