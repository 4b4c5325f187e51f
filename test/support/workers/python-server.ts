/**
 * A server written in Python with Debian's packages: started, waited for, and ended with its test.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { note } from '../runner/note.ts';
import { hasTestFailed, onTestEnd } from '../runner/on-test-end.ts';

/** Debian's own: another one in the path lacks its packages. */
const PYTHON = '/usr/bin/python3';
const TIED = join(import.meta.dirname, 'tied.py');
const URL_SAID = /http:\/\/127\.0\.0\.1:\d+/;
const SHOWN_LINES = 30;

/** Why these modules cannot be used here, in words that say what to do; null when all are there. */
export function missingPython(...modules: string[]): string | null {
  try {
    execFileSync(PYTHON, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' });
    return null;
  } catch {
    return `needs the Python modules ${modules.join(', ')}: run scripts/setup-test-tools (Debian, as root)`;
  }
}

/** `run`: a file beside this one, or `-m` and a module, with arguments. Resolves with the URL that it says it has. */
export async function startPython(...run: readonly [string, ...string[]]): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'dht-sidecar-test-'));
  const [program, ...args] = run;
  const what = program === '-m' ? ['-m', ...args] : [join(import.meta.dirname, program), ...args];
  const child = spawn(PYTHON, ['-u', TIED, ...what], {
    cwd: home,
    env: { PATH: '/usr/bin:/bin', HOME: home, PYTHONDONTWRITEBYTECODE: '1' },
  });
  const ended = once(child, 'close');
  child.stdin.on('error', () => {});
  const lines: string[] = [];
  const url = new Promise<string>((resolve, reject) => {
    const said = (line: string): void => {
      lines.push(line);
      const found = URL_SAID.exec(line)?.[0];
      if (found !== undefined) resolve(found);
    };
    createInterface({ input: child.stdout }).on('line', said);
    createInterface({ input: child.stderr }).on('line', said);
    child.once('error', reject);
    void ended.then(() => reject(new Error(`${run.join(' ')} ended:\n${lines.join('\n')}`)));
  });
  onTestEnd(async () => {
    child.stdin.end();
    await ended;
    if (hasTestFailed()) note(`${run.join(' ')} said:\n${lines.slice(-SHOWN_LINES).join('\n')}`);
    await rm(home, { recursive: true, force: true });
  });
  return url;
}
