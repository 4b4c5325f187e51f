/**
 * CPU texts: parsers of the kernel's files about CPU time, pure, so that hostile and odd content is tested.
 *
 * Formats: kernel.org admin-guide/cgroup-v2 (cpu.max, cpu.stat), cgroup-v1/cpuacct and sched-bwc (cpu.cfs_*),
 * filesystems/proc (stat), cgroups(7) (/proc/self/cgroup). Null means "says nothing usable", never 0.
 */

/** Cores that `cpu.max` allows (`"200000 100000"` → 2); Infinity for `max`. */
export function parseCpuMax(text: string): number | null {
  const [quota, period, ...rest] = text.trim().split(/\s+/);
  if (quota === undefined || period === undefined || rest.length > 0) return null;
  if (quota === 'max') return parsePositive(period) === null ? null : Number.POSITIVE_INFINITY;
  return ratio(quota, period);
}

/** Cores that v1's `cpu.cfs_quota_us` and `cpu.cfs_period_us` allow; Infinity for the quota -1. */
export function parseCfsQuota(quota: string, period: string): number | null {
  return quota.trim() === '-1' ? Number.POSITIVE_INFINITY : ratio(quota.trim(), period.trim());
}

/** Microseconds of CPU time used so far, from v2's `cpu.stat`. */
export function parseCpuStatUs(text: string): number | null {
  const found = /^usage_usec[ \t]+(\d{1,19})[ \t]*$/m.exec(text);
  return found === null ? null : parseCount(found[1]);
}

/** Microseconds of CPU time used so far, from v1's `cpuacct.usage` (nanoseconds). */
export function parseCpuacctUs(text: string): number | null {
  const ns = parseCount(text.trim());
  return ns === null ? null : ns / 1000;
}

export interface HostTicks {
  /** Ticks of all CPUs in which one did or was denied work: user, nice, system, irq, softirq, steal. */
  readonly busy: number;
  readonly total: number;
  readonly cores: number;
}

/** `/proc/stat`. Waiting for a disk is idle; guest time is already in user and nice. */
export function parseProcStat(text: string): HostTicks | null {
  const lines = text.split('\n', 4096);
  const all = lines.find((line) => /^cpu\s/.test(line));
  if (all === undefined) return null;
  const ticks: number[] = [];
  for (const word of all.trim().split(/\s+/).slice(1, 9)) {
    const count = parseCount(word);
    if (count === null) return null;
    ticks.push(count);
  }
  if (ticks.length < 4) return null;
  const total = ticks.reduce((sum, count) => sum + count, 0);
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  const cores = lines.filter((line) => /^cpu\d+\s/.test(line)).length;
  return cores === 0 ? null : { busy: total - idle, total, cores };
}

export interface CgroupPaths {
  /** Of the unified hierarchy; null without one. */
  readonly v2: string | null;
  /** Of v1's `cpu` and `cpuacct` controllers. */
  readonly cpu: string | null;
  readonly cpuacct: string | null;
}

/** `/proc/self/cgroup`: `hierarchy:controllers:path` per line. Paths that climb are not taken. */
export function parseSelfCgroup(text: string): CgroupPaths {
  const paths: { v2: string | null; cpu: string | null; cpuacct: string | null } = {
    v2: null,
    cpu: null,
    cpuacct: null,
  };
  for (const line of text.split('\n', 256)) {
    const found = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (found === null) continue;
    const [, hierarchy, controllers = '', path = '/'] = found;
    if (path.split('/').includes('..')) continue;
    const names = controllers.split(',');
    if (hierarchy === '0' && controllers === '') paths.v2 = path;
    if (names.includes('cpu')) paths.cpu = path;
    if (names.includes('cpuacct')) paths.cpuacct = path;
  }
  return paths;
}

function ratio(quota: string, period: string): number | null {
  const [above, below] = [parsePositive(quota), parsePositive(period)];
  return above === null || below === null ? null : above / below;
}

function parsePositive(text: string): number | null {
  const value = parseCount(text);
  return value === null || value === 0 ? null : value;
}

/** A count that a double holds to within 0.1 ppm; anything else (sign, hex, exponent, words) is null. */
function parseCount(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : null;
}
