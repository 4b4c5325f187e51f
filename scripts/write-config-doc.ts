/**
 * Writes docs/configuration.md from the schema: `node scripts/write-config-doc.ts`.
 *
 * Generated, so that the page cannot differ from the program; a test compares the two. It must not know
 * any option by name, except to sort the tables.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { argumentOf, listOptions, type Option } from '../sidecar/config/option.ts';
import { SCHEMA } from '../sidecar/config/schema.ts';
import { SERVICE_SCHEMA } from '../sidecar/config/service-schema.ts';

export const CONFIG_DOC = fileURLToPath(new URL('../docs/configuration.md', import.meta.url));

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function fallback(leaf: Option<unknown>): string {
  return leaf.default === null ? (leaf.defaultDoc ?? 'none') : `\`${leaf.default}\``;
}

function rootRow([key, leaf]: readonly [string, Option<unknown>]): string {
  const variable =
    leaf.env === null ? 'file only' : `\`${leaf.env}\`${leaf.secret ? ` or \`${leaf.env}_FILE\`` : ''}`;
  const argument = leaf.env === null ? '' : `\`--${argumentOf(leaf.env)}${leaf.secret ? '-file' : ''}\``;
  return `| ${variable} | ${argument} | \`${key}\` | ${cell(fallback(leaf))} | ${cell(leaf.doc)} |`;
}

function serviceRow([key, leaf]: readonly [string, Option<unknown>]): string {
  return `| \`${key}\` | ${cell(fallback(leaf))} | ${cell(leaf.doc)} |`;
}

/** The whole page. */
export function configurationPage(): string {
  return `# Configuration

<!-- Generated from sidecar/config/schema.ts by scripts/write-config-doc.ts. -->

A file counts less than the environment, and the environment less than arguments. The file is YAML or JSON,
named by \`--config\` or \`SIDECAR_CONFIG\`. Unknown keys, variables that begin with \`SIDECAR_\` and arguments
are mistakes. All mistakes are reported together, with exit code 64, before any port is bound.

- Lengths of time carry a unit: \`500ms\`, \`60s\`, \`10m\`, \`1h30m\`, \`1d\`. Amounts of data: \`65536\`, \`64KiB\`, \`1MB\`.
- An empty variable counts as unset.
- Secrets are read from a file if the variable with \`_FILE\` names one. They are not accepted as arguments,
  where every process of the host could read them; \`--…-file\` takes a path.
- A listener is \`host:port\`; port 0 takes any free one.

## All options

| environment | argument | file key | default | meaning |
| --- | --- | --- | --- | --- |
${[...listOptions(SCHEMA)].map(rootRow).join('\n')}

## One service

In the file, under \`services.<name>\`:

| key | default | meaning |
| --- | --- | --- |
${[...listOptions(SERVICE_SCHEMA)].map(serviceRow).join('\n')}

## A file

\`\`\`yaml
worker:
  id: worker-gpu-001
services:
  llm-inference:
    url: http://127.0.0.1:9000
    concurrency: 4
    aliases: [llm]
    health: { path: /health }
    warmingLimit: 20m
  notes-coa: http://127.0.0.1:9001/base
dht:
  bootstrap: [10.42.0.1:49737, 10.42.0.2:49737]
state:
  dir: /var/lib/dht-sidecar
\`\`\`

The mesh key then comes from \`SIDECAR_MESH_KEY_FILE\`.
`;
}

if (import.meta.main) writeFileSync(CONFIG_DOC, configurationPage());
