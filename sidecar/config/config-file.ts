/**
 * The configuration file: bytes on disk → plain data, as YAML 1.2 or JSON.
 *
 * Errors give line and column and the kind of mistake, never the line itself, which may hold the mesh key; reading is
 * bounded, so that a wrong path (a device, an image) is an error and not an outage.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { type Document, isAlias, isMap, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';

const MAX_BYTES = 1_048_576;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'the file may not be read by this user',
  EISDIR: 'that is a directory',
  ENOTDIR: 'there is no such file',
};

/**
 * The file as text; throws the reason in plain words, also when it is larger than 1 MiB. The path is not
 * repeated: where a path is wanted, some give the secret itself.
 */
export function readTextFile(path: string): string {
  let descriptor: number | null = null;
  try {
    descriptor = openSync(path, 'r');
    const buffer = Buffer.allocUnsafe(MAX_BYTES + 1);
    let length = 0;
    for (;;) {
      const count = readSync(descriptor, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0 || length > MAX_BYTES) break;
    }
    if (length > MAX_BYTES) throw new Error('the file is larger than 1 MiB');
    return buffer.toString('utf8', 0, length);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason =
      code === undefined ? (error as Error).message : (REASONS[code] ?? `cannot be read (${code})`);
    throw new Error(reason);
  } finally {
    if (descriptor !== null) closeSync(descriptor);
  }
}

function parseYaml(content: string): unknown {
  const lines = new LineCounter();
  const document = parseDocument(content, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error',
    stringKeys: true,
    merge: true,
  });
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) {
    const { line, col } = lines.linePos(fault.pos[0]);
    throw new Error(
      `line ${line}, column ${col}: not valid YAML (${fault.code.toLowerCase().replaceAll('_', ' ')})`,
    );
  }
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch {
    const at = badReference(document);
    if (at === undefined) throw new Error('not valid YAML (an alias refers to too much)');
    const { line, col } = lines.linePos(at);
    throw new Error(
      `line ${line}, column ${col}: not valid YAML (an alias refers to nothing, or << is not given a mapping)`,
    );
  }
}

/** Offset of the first alias of nothing, or merge key without mappings. */
function badReference(document: Document): number | undefined {
  let at: number | undefined;
  const isMerged = (node: unknown): boolean => isMap(isAlias(node) ? node.resolve(document) : node);
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return undefined;
      at = node.range?.[0];
      return visit.BREAK;
    },
    Pair: (_, { key, value }) => {
      if (String(key) !== '<<' || isMerged(value) || (isSeq(value) && value.items.every(isMerged)))
        return undefined;
      at = (value as Node | null)?.range?.[0] ?? (key as Node).range?.[0];
      return visit.BREAK;
    },
  });
  return at;
}

/** Keys of the file's own, for what is referred to elsewhere in it (`x-common: &common`). */
function withoutOwnKeys(content: unknown): unknown {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return content;
  return Object.fromEntries(Object.entries(content).filter(([key]) => !key.startsWith('x-')));
}

function parseJson(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch (error) {
    const at = /position (\d+)/.exec((error as Error).message)?.[1];
    if (at === undefined) {
      // V8 does not always tell the place; JSON is YAML, too.
      const lines = new LineCounter();
      const options = { lineCounter: lines, prettyErrors: false, logLevel: 'error' } as const;
      const fault = parseDocument(content, options).errors[0];
      if (fault === undefined) throw new Error('not valid JSON');
      const { line, col } = lines.linePos(fault.pos[0]);
      throw new Error(`line ${line}, column ${col}: not valid JSON`);
    }
    const before = content.slice(0, Number(at)).split('\n');
    throw new Error(`line ${before.length}, column ${(before.at(-1) ?? '').length + 1}: not valid JSON`);
  }
}

/** The content by the ending of the path; throws in plain words. An empty file is an empty mapping. */
export function parseConfigFile(path: string, content: string): unknown {
  const withoutMark = content.replace(/^\uFEFF/, '');
  if (path.endsWith('.json')) return withoutOwnKeys(parseJson(withoutMark));
  if (path.endsWith('.yaml') || path.endsWith('.yml')) return withoutOwnKeys(parseYaml(withoutMark) ?? {});
  throw new Error('the name must end in .yaml, .yml or .json');
}
