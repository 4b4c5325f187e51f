/** docs/configuration.md is what the schema says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parse } from 'yaml';
import { CONFIG_DOC, configurationPage } from '../../scripts/write-config-doc.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { configInput, MESH_KEY } from '../support/config-input.ts';

test('the page is current (node scripts/write-config-doc.ts writes it)', () => {
  assert.equal(readFileSync(CONFIG_DOC, 'utf8'), configurationPage());
});

test('the example of the page is a valid configuration', () => {
  const example = /```yaml\n(.*?)```/s.exec(configurationPage())?.[1] ?? '';
  assert.ok(parse(example));
  const { config } = loadConfig(
    configInput({
      env: { SIDECAR_MESH_KEY: MESH_KEY },
      args: ['--config', 'c.yaml'],
      files: { 'c.yaml': example },
    }),
  );
  assert.deepEqual(
    config.services.map((service) => service.name),
    ['llm-inference', 'notes-coa'],
  );
});
