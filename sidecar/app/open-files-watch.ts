/**
 * Says when this process has no file descriptor left, and when it has some again.
 *
 * Nothing else would: the system's library then closes each new connection as it comes, and tells nobody. So a file is
 * opened now and then. It must not know who uses them.
 */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { Log } from '../observe/log.ts';

const INTERVAL_MS = 1_000;
const HINT = 'raise the limit of open files of this process (ulimit -n, LimitNOFILE=), or of this host';

/** Returns its end. */
export function watchOpenFiles(log: Pick<Log, 'info' | 'warn'>): () => void {
  let isOut = false;
  const look = (): void => {
    const reason = whyNone();
    if ((reason !== null) === isOut) return;
    isOut = reason !== null;
    if (isOut) log.warn({ reason, hint: HINT }, 'no file descriptor is left: new connections are cut off');
    else log.info({}, 'there are file descriptors again');
  };
  const timer = setInterval(look, INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** The system's code; null when there is one left, or nothing is known of it. */
function whyNone(): string | null {
  try {
    closeSync(openSync(devNull, 'r'));
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'EMFILE' || code === 'ENFILE' ? code : null;
  }
}
