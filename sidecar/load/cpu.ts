/**
 * CPU: how much of the CPU that this container may use is in use, 0..1.
 *
 * Not `os.loadavg()` (counts what waits for disks, and is the host's) nor `process.cpuUsage()` (is the sidecar's own):
 * what makes a worker slow is its container's quota or, without one, its whole machine. So: a limit (cgroup v2, then
 * v1, then CPU affinity) → used / limit; no limit → the machine, from /proc/stat.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import {
  type HostTicks,
  parseCfsQuota,
  parseCpuacctUs,
  parseCpuMax,
  parseCpuStatUs,
  parseProcStat,
  parseSelfCgroup,
} from './cpu-text.ts';

export type CpuSource = 'cgroup_v2' | 'cgroup_v1' | 'host';

export interface CpuMeter {
  /** What it reads; null when there is nothing to read on this system. */
  readonly source: CpuSource | null;
  /** Busy share since the last call, 0..1; null at the first call, and whenever the files say nothing. */
  sample(): number | null;
}

export interface CpuMeterOptions {
  /** The text of a file, or null when it cannot be read. */
  readonly readText: (path: string) => string | null;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** CPUs that the scheduler lets this process run on. */
  readonly allowedCores: number;
}

/** Files under /proc and /sys come from memory: reading them at once takes microseconds. */
export function systemCpu(): CpuMeterOptions {
  return {
    readText: (path) => {
      try {
        return readFileSync(path, 'utf8');
      } catch {
        return null;
      }
    },
    nowMs: () => performance.now(),
    allowedCores: availableParallelism(),
  };
}

const CGROUP_ROOT = '/sys/fs/cgroup';

/** Reads what limits there are once; quotas are changed by starting anew. */
export function createCpuMeter(options: CpuMeterOptions): CpuMeter {
  const { readText } = options;
  const hostTicks = () => parsed(readText('/proc/stat'), parseProcStat);
  const host = hostTicks();
  const group = findCgroup(readText);
  if (group !== null) {
    const limit = Math.min(group.limitCores, options.allowedCores);
    if (host === null || limit < host.cores) {
      return new CgroupMeter(group, limit, options.nowMs);
    }
  }
  if (host !== null) return new HostMeter(hostTicks);
  return { source: null, sample: () => null };
}

interface CpuCgroup {
  readonly source: 'cgroup_v2' | 'cgroup_v1';
  readonly limitCores: number;
  readonly usedUs: () => number | null;
}

/**
 * In a container the own group is usually mounted as the root, while /proc may still name the host's path,
 * so both are tried. A v2 root without cpu.max is the machine's own: no group of ours.
 */
function findCgroup(readText: CpuMeterOptions['readText']): CpuCgroup | null {
  const own = parseSelfCgroup(readText('/proc/self/cgroup') ?? '');
  for (const path of places(own.v2)) {
    const limitCores = parsed(readText(`${CGROUP_ROOT}${path}/cpu.max`), parseCpuMax);
    const usedUs = () => parsed(readText(`${CGROUP_ROOT}${path}/cpu.stat`), parseCpuStatUs);
    if (limitCores !== null && usedUs() !== null) return { source: 'cgroup_v2', limitCores, usedUs };
  }
  for (const path of places(own.cpu)) {
    const quota = readText(`${CGROUP_ROOT}/cpu${path}/cpu.cfs_quota_us`);
    const period = readText(`${CGROUP_ROOT}/cpu${path}/cpu.cfs_period_us`);
    const limitCores = quota === null || period === null ? null : parseCfsQuota(quota, period);
    if (limitCores === null) continue;
    for (const accounted of places(own.cpuacct ?? path)) {
      const usedUs = () =>
        parsed(readText(`${CGROUP_ROOT}/cpuacct${accounted}/cpuacct.usage`), parseCpuacctUs);
      if (usedUs() !== null) return { source: 'cgroup_v1', limitCores, usedUs };
    }
  }
  return null;
}

function places(path: string | null): readonly string[] {
  return path === null || path === '/' ? [''] : [path, ''];
}

class CgroupMeter implements CpuMeter {
  readonly source: CpuSource;
  readonly #usedUs: () => number | null;
  readonly #limitCores: number;
  readonly #nowMs: () => number;
  #last: { readonly us: number; readonly atMs: number } | null = null;

  constructor({ source, usedUs }: CpuCgroup, limitCores: number, nowMs: () => number) {
    this.source = source;
    this.#usedUs = usedUs;
    this.#limitCores = limitCores;
    this.#nowMs = nowMs;
  }

  sample(): number | null {
    const us = this.#usedUs();
    const last = this.#last;
    this.#last = us === null ? null : { us, atMs: this.#nowMs() };
    if (last === null || this.#last === null) return null;
    return share(this.#last.us - last.us, (this.#last.atMs - last.atMs) * 1000 * this.#limitCores);
  }
}

class HostMeter implements CpuMeter {
  readonly source = 'host';
  readonly #ticks: () => HostTicks | null;
  #last: HostTicks | null = null;

  constructor(ticks: () => HostTicks | null) {
    this.#ticks = ticks;
  }

  sample(): number | null {
    const last = this.#last;
    this.#last = this.#ticks();
    if (last === null || this.#last === null) return null;
    return share(this.#last.busy - last.busy, this.#last.total - last.total);
  }
}

/** A counter that went back or a clock that stood still says nothing. Bursts above a quota count as full. */
function share(used: number, available: number): number | null {
  if (!(used >= 0) || !(available > 0)) return null;
  return Math.min(1, used / available);
}

function parsed<T>(text: string | null, parse: (text: string) => T | null): T | null {
  return text === null ? null : parse(text);
}
