/**
 * What a test file imports: how near the mutated file is to it, and what its results depend on.
 *
 * Read from the texts, as Node would resolve them; imports of types are none once the types are stripped.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const IMPORT = /^\s*(?:import|export)\s(?!type\s)[^'";]*?from\s+'(\.[^']+)'|^\s*import\s+'(\.[^']+)'/gm;

export class ImportGraph {
  readonly #root: string;
  readonly #importsOf = new Map<string, readonly string[]>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Each file that `path` leads to → by how many steps. */
  distances(path: string): ReadonlyMap<string, number> {
    const found = new Map([[path, 0]]);
    for (const [file, steps] of found) {
      for (const next of this.#imports(file)) if (!found.has(next)) found.set(next, steps + 1);
    }
    return found;
  }

  /** Changes when any file changes that `path` leads to. */
  fingerprint(path: string): string {
    const hash = createHash('sha256');
    for (const file of [...this.distances(path).keys()].sort()) {
      hash.update(`${file}\0`).update(readFileSync(join(this.#root, file)));
    }
    return hash.digest('hex');
  }

  #imports(path: string): readonly string[] {
    const known = this.#importsOf.get(path);
    if (known !== undefined) return known;
    const found = [...readFileSync(join(this.#root, path), 'utf8').matchAll(IMPORT)]
      .map(([, from, only]) =>
        relative(this.#root, resolve(this.#root, dirname(path), (from ?? only) as string)),
      )
      .filter((file) => /\.m?[jt]s$/.test(file) && existsSync(join(this.#root, file)));
    this.#importsOf.set(path, found);
    return found;
  }
}
