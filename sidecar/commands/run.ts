/**
 * `dht-sidecar run`: the sidecar itself, from its configuration.
 *
 * Reads the configuration completely before anything is bound, then hands over.
 */
import { runSidecar } from '../app/process.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { argumentOf, listOptions } from '../config/option.ts';
import { SCHEMA } from '../config/schema.ts';
import type { Command } from './command.ts';

function optionLines(): string {
  const lines: string[] = [];
  for (const [key, leaf] of listOptions(SCHEMA)) {
    if (leaf.env === null) continue;
    const argument = `--${argumentOf(leaf.env)}${leaf.secret ? '-file PATH' : ''}`;
    const variable = leaf.secret ? `${leaf.env}[_FILE]` : leaf.env;
    const fallback = leaf.default ?? leaf.defaultDoc ?? 'none';
    lines.push(
      `  ${argument}`,
      `      ${variable}, ${key} (${fallback.replaceAll('`', '')})`,
      `      ${leaf.doc.replaceAll('`', '')}`,
    );
  }
  return lines.join('\n');
}

export const run: Command = {
  help: `Usage: dht-sidecar [run] [--config sidecar.yaml] [options]

Runs the sidecar. A file (--config or SIDECAR_CONFIG; YAML or JSON) counts less than the environment, and that
less than arguments. Each option: its argument; its variable, its key in the file and (its default); its
meaning.

${optionLines()}
`,

  async run(context) {
    const read = (): LoadedConfig => loadConfig(context);
    return await runSidecar(read(), read, context.stopSignals());
  },
};
