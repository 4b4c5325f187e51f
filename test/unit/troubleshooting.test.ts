import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { CODES } from '../../sidecar/core/errors.ts';

const page = readFileSync(new URL('../../docs/troubleshooting.md', import.meta.url), 'utf8');

test('every code has its row, with its status', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  for (const [code, { status }] of Object.entries(CODES)) {
    const row = rows.find((line) => line.split('|')[1]?.includes(`\`${code}\``));
    assert.ok(row, `no row for ${code}`);
    assert.ok(row.split('|')[2]?.includes(String(status)), `the row of ${code} lacks ${status}`);
  }
});
