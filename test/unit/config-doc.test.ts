/** docs/configuration.md is what the schema says. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { CONFIG_DOC, configurationPage } from '../../scripts/write-config-doc.ts';
import { loadConfig } from '../../sidecar/config/load.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';

describe('docs/configuration.md', () => {
  test('the page is current (node scripts/write-config-doc.ts writes it)', () => {
    expect(readFileSync(CONFIG_DOC, 'utf8')).toBe(configurationPage());
  });

  test('the example of the page is a valid configuration', () => {
    const example = /```yaml\n(.*?)```/s.exec(configurationPage())?.[1] ?? '';
    expect(parse(example)).toBeTruthy();
    const { config } = loadConfig(
      configInput({
        env: { SIDECAR_MESH_KEY: MESH_KEY },
        args: ['--config', 'c.yaml'],
        files: { 'c.yaml': example },
      }),
    );
    expect(config.services.map((service) => service.name)).toStrictEqual(['llm-inference', 'notes-coa']);
  });
});
