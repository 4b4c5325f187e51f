/**
 * Where log lines leave: standard output, which may be full, closed or not read, while the sidecar goes on serving.
 *
 * Lines are written at once, so that the last one before an exit is not lost. What cannot be written now (a full disk,
 * a reader who stands still or has gone) is kept for a while, then dropped and counted.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';

export interface LineSink {
  write(line: string): void;
}

/** Told once there is room again: lines lost, and the system's code for why. */
export type OnLost = (count: number, reason: string) => void;

/** Of lines that wait: a burst, or a reader who pauses. */
const MAX_WAITING_BYTES = 1_048_576;
const RETRY_MS = 100;

/** Writing never throws, and does not wait for a reader where the system allows that. */
export function logSink(fd: number, onLost: OnLost): LineSink {
  const target = withoutWaiting(fd);
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let lost = 0;
  let reason = '';
  let retry: NodeJS.Timeout | null = null;

  const flush = (): void => {
    let done = 0;
    try {
      for (; done < waiting.length; done++) {
        let bytes = waiting[done] as Buffer;
        while (bytes.byteLength > 0) {
          const written = writeSync(target, bytes);
          bytes = bytes.subarray(written);
          // What is left of a line comes first later, or it would break the next one.
          waiting[done] = bytes;
          waitingBytes -= written;
        }
      }
    } catch (error) {
      reason = (error as NodeJS.ErrnoException).code ?? String(error);
      retry ??= setTimeout(again, RETRY_MS).unref();
    }
    waiting = done === waiting.length ? [] : waiting.slice(done);
    if (waiting.length > 0 || lost === 0) return;
    const count = lost;
    lost = 0;
    onLost(count, reason);
  };
  const again = (): void => {
    retry = null;
    flush();
  };

  return {
    write(line) {
      const bytes = Buffer.from(line);
      if (waitingBytes > 0 && waitingBytes + bytes.byteLength > MAX_WAITING_BYTES) {
        lost += 1;
        return;
      }
      waiting.push(bytes);
      waitingBytes += bytes.byteLength;
      // While it is known to be stuck, not each line has to find that out.
      if (retry === null) flush();
    },
  };
}

/**
 * A pipe or a terminal is opened once more: writes to the same description wait for who reads it, and others have
 * it as well, so it cannot be changed. A socket cannot be opened so, and a file never waits.
 */
function withoutWaiting(fd: number): number {
  try {
    const stat = fstatSync(fd);
    if (!stat.isFIFO() && !stat.isCharacterDevice()) return fd;
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants;
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
  } catch {
    return fd;
  }
}
