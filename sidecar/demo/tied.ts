/**
 * Preloaded (`--import`) into every process of the demo: the process ends when the one that started it does.
 *
 * The parent holds the other end of standard input, and the kernel closes that however the parent dies, also by
 * SIGKILL, on every system: a watcher or a list of pids could itself be killed. What the parent would have removed is
 * removed here then.
 */
import { rmSync } from 'node:fs';

function end(): never {
  const folder = process.env.DEMO_FOLDER;
  try {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  } catch {
    // Another of the processes is at it.
  }
  process.exit(1);
}

process.stdin.on('end', end).on('error', end);
process.stdin.resume();
process.stdin.unref();
