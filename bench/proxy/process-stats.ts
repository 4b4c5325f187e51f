/**
 * What the kernel says of a process and of those that it started: CPU time, resident memory, open sockets.
 *
 * With the children, because a system may be several processes, and all of them count.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const NS_PER_US = 1_000;
/** Of the ticks of `/proc/PID/stat`. */
const US_PER_TICK = 10_000;

/** With all that descend from them. */
function withChildren(pids: readonly number[]): number[] {
  return pids.flatMap((pid) => [pid, ...withChildren(childrenOf(pid))]);
}

function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) =>
    textOf(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

/** User and system, of all threads, in microseconds so far. */
export function cpuUs(pids: readonly number[]): number {
  return withChildren(pids).reduce((sum, pid) => sum + cpuUsOf(pid), 0);
}

function cpuUsOf(pid: number): number {
  const perThread = threadsOf(pid).map((thread) => textOf(`/proc/${pid}/task/${thread}/schedstat`));
  if (perThread.some((text) => text !== '')) {
    return perThread.reduce((sum, text) => sum + Number(text.split(' ')[0]), 0) / NS_PER_US;
  }
  // A kernel without scheduler statistics: the same in steps of 10 ms.
  const fields = textOf(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, '')
    .split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * US_PER_TICK;
}

/** Resident set in MB, of each process. */
export function rssMbOf(pids: readonly number[]): number[] {
  return withChildren(pids).map((pid) => {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(textOf(`/proc/${pid}/status`));
    return Number(line?.[1] ?? 0) / 1024;
  });
}

export function socketCount(pids: readonly number[]): number {
  return withChildren(pids).reduce((sum, pid) => sum + socketCountOf(pid), 0);
}

function socketCountOf(pid: number): number {
  return entriesOf(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

function threadsOf(pid: number): string[] {
  return entriesOf(`/proc/${pid}/task`);
}

/** None, if the process or thread has gone meanwhile. */
function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
