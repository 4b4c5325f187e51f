/** What docs/workers.md offers to paste is a configuration that this program takes. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../sidecar/config/load.ts';
import { configInput, MESH_KEY } from '../support/generators/config-input.ts';

const PAGE = readFileSync('docs/workers.md', 'utf8');

interface Recipe {
  readonly worker: string;
  readonly yaml: string;
}

const recipes: readonly Recipe[] = PAGE.split(/^## /m)
  .slice(1)
  .flatMap((section) =>
    [...section.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml = '']) => ({
      worker: section.slice(0, section.indexOf('\n')),
      yaml,
    })),
  );

function servicesOf({ yaml }: Recipe) {
  const input = configInput({
    env: { SIDECAR_MESH_KEY: MESH_KEY },
    args: ['--config', 'c.yaml'],
    files: { 'c.yaml': yaml },
  });
  return loadConfig(input).config.services;
}

describe('docs/workers.md', () => {
  test('each section has one recipe', () => {
    const sections = [...PAGE.matchAll(/^## (.*)$/gm)].map(([, title]) => title);
    expect(recipes.map(({ worker }) => worker)).toStrictEqual(sections);
    expect(sections).toHaveLength(7);
  });

  test.each(recipes)('the recipe for $worker is a valid configuration with a health check', (recipe) => {
    const services = servicesOf(recipe);
    expect(services.length).toBeGreaterThan(0);
    expect(services[0]?.health.ask.kind).toBe('get');
  });

  test('none of them takes the port of the sidecars', () => {
    const urls = recipes.flatMap(({ yaml }) => [...yaml.matchAll(/:(\d{4,5})\b/g)].map(([, port]) => port));
    expect(urls.length).toBeGreaterThan(recipes.length);
    expect(urls.filter((port) => ['8000', '8010', '9464'].includes(port ?? ''))).toStrictEqual([]);
  });
});
