/** The layout: who may import whom, no cycles, and what every file owes its reader. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const ROOT = fileURLToPath(new URL('../../sidecar/', import.meta.url));

const MAX_LINES = 400;
const MIN_LINES = 40;
const MAX_FILES_PER_ROOM = 20;

/** Rooms from top to bottom, with those that each may import from besides itself. `core` may import nothing. */
const ALLOWED: ReadonlyMap<string, readonly string[]> = new Map([
  ['main.ts', ['demo', 'commands', 'app', 'mesh', 'config', 'core']],
  ['demo', ['commands', 'app', 'mesh', 'config', 'core']],
  ['commands', ['app', 'mesh', 'observe', 'config', 'http', 'core']],
  ['app', ['proxy', 'mesh', 'load', 'observe', 'config', 'http', 'core']],
  ['proxy', ['http', 'core']],
  ['mesh', ['http', 'core', 'types']],
  ['load', ['http', 'core']],
  ['observe', ['http', 'core']],
  ['config', ['core']],
  ['http', ['core']],
  ['core', []],
  ['types', []],
]);

/** Packages that only one part may import. */
const OWNED_PACKAGES: ReadonlyMap<string, string> = new Map([
  ['hyperdht', 'mesh'],
  ['hyperswarm', 'mesh'],
  ['udx-native', 'mesh'],
  ['sodium-universal', 'mesh'],
  ['convict', 'config'],
  ['prom-client', 'observe'],
  ['pino', 'observe'],
  ['undici', 'http'],
]);

interface Source {
  readonly path: string;
  readonly text: string;
  /** Without comments and the contents of strings other than import paths. */
  readonly imports: readonly string[];
}

/** Also imports of types. */
function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const found: string[] = [];
  for (const [, path] of code.matchAll(/^\s*(?:import|export)\s[^'";]*?from\s+'([^']+)'/gm))
    found.push(path as string);
  for (const [, path] of code.matchAll(/^\s*import\s+'([^']+)'/gm)) found.push(path as string);
  for (const [, path] of code.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)) found.push(path as string);
  return found;
}

const SOURCES: readonly Source[] = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return { path, text, imports: importsOf(text) };
  });

/** `proxy/dial.ts` → `proxy`; `main.ts` → `main.ts`. */
function partOf(path: string): string {
  return path.split('/')[0] ?? path;
}

function target(source: Source, path: string): string {
  return relative(ROOT, resolve(ROOT, dirname(source.path), path));
}

/** File → the files that it imports. */
const EDGES: ReadonlyMap<string, readonly string[]> = new Map(
  SOURCES.map((source) => [
    source.path,
    source.imports.filter((path) => path.startsWith('.')).map((path) => target(source, path)),
  ]),
);

function all(check: (source: Source) => readonly string[]): void {
  expect(SOURCES.flatMap(check)).toStrictEqual([]);
}

describe('the layout of the sources', () => {
  test('there is something to look at', () => {
    expect(SOURCES.length).toBeGreaterThan(20);
    const withImports = SOURCES.filter((source) => source.imports.length > 0);
    expect(withImports.length).toBeGreaterThan(SOURCES.length / 2);
    expect(
      importsOf("import {\n  a,\n} from './a.ts';\nimport type { B } from 'b';\n// import 'c'\n"),
    ).toStrictEqual(['./a.ts', 'b']);
    expect(importsOf("const c = await import('./c.ts');")).toStrictEqual(['./c.ts']);
  });

  test('parts import only what is below them', () => {
    all((source) => {
      const allowed = ALLOWED.get(partOf(source.path)) ?? [];
      return source.imports
        .filter((path) => path.startsWith('.'))
        .map((path) => target(source, path))
        .filter((to) => partOf(to) !== partOf(source.path) && !allowed.includes(partOf(to)))
        .map((to) => `${source.path} imports ${to}`);
    });
  });

  /** `isIP` reads its argument and nothing else. */
  const IS_IP = /^import \{ isIP \} from 'node:net';$/m;

  test('core is pure: no packages, no node modules but node:buffer and isIP, no globals of time, chance or process', () => {
    const impure =
      /\b(?:Date\.now|new Date\(\)|Math\.random|performance\.now|setTimeout|setInterval|setImmediate|process\.|console\.|fetch\()/;
    all((source) => {
      if (partOf(source.path) !== 'core') return [];
      const outside = importsOf(source.text.replace(IS_IP, '')).filter(
        (path) => !path.startsWith('.') && path !== 'node:buffer',
      );
      const code = source.text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
      const global = impure.exec(code)?.[0];
      return [
        ...outside.map((path) => `${source.path} imports ${path}`),
        ...(global === undefined ? [] : [`${source.path} uses ${global}`]),
      ];
    });
  });

  test('a package with traps is imported in one part', () => {
    all((source) =>
      source.imports
        .filter((path) => {
          const owner = OWNED_PACKAGES.get(path);
          return owner !== undefined && partOf(source.path) !== owner && partOf(source.path) !== 'types';
        })
        .map((path) => `${source.path} imports ${path}`),
    );
  });

  test('local imports carry their ending and go to files that are there', () => {
    const paths = new Set(SOURCES.map((source) => source.path));
    all((source) =>
      source.imports
        .filter((path) => path.startsWith('.') && !paths.has(target(source, path)))
        .map((path) => `${source.path} imports ${path}`),
    );
  });

  test('no files import each other in a circle, imports of types counted', () => {
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (trail.includes(path)) {
        circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
        return;
      }
      if (done.has(path)) return;
      for (const next of EDGES.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of EDGES.keys()) visit(path, []);
    expect(circles).toStrictEqual([]);
  });

  test('a short file with one user is a part of that user', () => {
    const users = new Map<string, number>();
    for (const targets of EDGES.values()) for (const to of targets) users.set(to, (users.get(to) ?? 0) + 1);
    all((source) => {
      const isCommand = partOf(source.path) === 'commands'; // main loads each by itself
      const lines = source.text.split('\n').length - 1;
      if (isCommand || lines >= MIN_LINES || users.get(source.path) !== 1) return [];
      return [`${source.path} has ${lines} lines and one user`];
    });
  });

  test('every file says at its top what it owns', () => {
    all((source) => {
      const header = /^(?:#!.*\n)?\/\*\*([\s\S]*?)\*\//.exec(source.text)?.[1] ?? '';
      return header.length < 60 ? [`${source.path} has no header comment`] : [];
    });
  });

  test('no file is longer than one subject needs', () => {
    all((source) => {
      const lines = source.text.split('\n').length - 1;
      return lines > MAX_LINES ? [`${source.path} has ${lines} lines`] : [];
    });
  });

  test('no room has more files than one glance takes in', () => {
    const rooms = Map.groupBy(SOURCES, (source) => dirname(source.path));
    const full = [...rooms].filter(([, sources]) => sources.length > MAX_FILES_PER_ROOM);
    expect(full.map(([room, sources]) => `${room} has ${sources.length} files`)).toStrictEqual([]);
  });

  test('no any, no TODO, no barrels, no utils', () => {
    all((source) => {
      const code = source.text
        .replace(/\/\*[\s\S]*?\*\//g, '')
        .replace(/\/\/.*$/gm, '')
        .replace(/'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, "''");
      const problems: string[] = [];
      if (/(?:[:<|]\s*|\bas\s+)any\b(?!\s*[:(.])/.test(code)) problems.push(`${source.path} uses any`);
      if (/\b(?:TODO|FIXME|XXX)\b/.test(source.text))
        problems.push(`${source.path} has something left to do`);
      if (/^\s*export\s+(?:\*|(?:type\s+)?\{[^}]*\})\s*from\b/m.test(source.text))
        problems.push(`${source.path} exports what is another file's`);
      if (/(?:^|\/)(?:utils?|helpers?|misc|common|index)\.ts$/.test(source.path))
        problems.push(`${source.path} has no noun for a name`);
      return problems;
    });
  });
});
