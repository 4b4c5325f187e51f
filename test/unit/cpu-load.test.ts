/**
 * CPU load: the kernel's texts, whole and hostile, and which of them counts on which system.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createCpuMeter, systemCpu } from '../../sidecar/load/cpu.ts';
import {
  parseCfsQuota,
  parseCpuacctUs,
  parseCpuMax,
  parseCpuStatUs,
  parseProcStat,
  parseSelfCgroup,
} from '../../sidecar/load/cpu-text.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const PROC_STAT =
  'cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0 0 0 0\nintr 1\n';
const HOSTILE = [
  '',
  '\n',
  ' ',
  'max',
  '0 0',
  '-5 100000',
  '1e9 1',
  '0x10 1',
  'NaN NaN',
  '1 2 3',
  '9'.repeat(400),
  '\0',
  'cpu',
  'cpu x y z w',
];

describe('the CPU load', () => {
  test('the limit and use of cgroup v2 are read from cpu.max and cpu.stat', () => {
    expect(parseCpuMax('200000 100000\n')).toBe(2);
    expect(parseCpuMax('50000 100000')).toBe(0.5);
    expect(parseCpuMax('max 100000\n')).toBe(Number.POSITIVE_INFINITY);
    expect(parseCpuStatUs('usage_usec 123456\nuser_usec 1\nsystem_usec 2\n')).toBe(123456);
    expect(parseCpuStatUs('user_usec 1\nusage_usec 7')).toBe(7);
    expect(parseCpuStatUs('not_usage_usec 7')).toBe(null);
  });

  test('the limit and use of cgroup v1 are read from quota, period and usage', () => {
    expect(parseCfsQuota('150000\n', '100000\n')).toBe(1.5);
    expect(parseCfsQuota('-1\n', '100000\n')).toBe(Number.POSITIVE_INFINITY);
    expect(parseCpuacctUs('153606434763\n')).toBe(153606434.763);
  });

  test('/proc/stat: waiting for a disk is idle, stolen time is not, guests are counted once', () => {
    expect(parseProcStat(PROC_STAT)).toStrictEqual({ busy: 150, total: 1000, cores: 2 });
    expect(parseProcStat('cpu 1 2 3 4 5 6 7 8 100 100\ncpu0 0 0 0 0\n')).toStrictEqual({
      busy: 27,
      total: 36,
      cores: 1,
    });
    expectNamed(parseProcStat('cpu 1 2 3 4\n'), 'no core, no share').toBe(null);
  });

  test('/proc/self/cgroup: v2, v1, both, and paths that climb', () => {
    expect(parseSelfCgroup('0::/system.slice/a.service\n')).toStrictEqual({
      v2: '/system.slice/a.service',
      cpu: null,
      cpuacct: null,
    });
    expect(parseSelfCgroup('4:cpu,cpuacct:/docker/abc\n0::/\n')).toStrictEqual({
      v2: '/',
      cpu: '/docker/abc',
      cpuacct: '/docker/abc',
    });
    expect(parseSelfCgroup('0::/../../etc\n').v2).toBe(null);
  });

  test('hostile texts say nothing rather than something', () => {
    for (const text of HOSTILE) {
      expectNamed(parseCpuMax(text), JSON.stringify(text)).toBe(null);
      expect(parseCpuStatUs(text)).toBe(null);
      expect(parseCpuacctUs(text)).toBe(null);
      expect(parseProcStat(text)).toBe(null);
      expect(parseCfsQuota(text, text)).toBe(null);
      expect(parseSelfCgroup(text)).toStrictEqual({ v2: null, cpu: null, cpuacct: null });
    }
  });

  test('any text at all gives a ratio in 0..1 or none', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'binary' }), { minLength: 6, maxLength: 6 }),
        fc.nat(),
        (texts, step) => {
          let at = 0;
          let nowMs = 0;
          const meter = createCpuMeter({
            readText: () => texts[at++ % texts.length] ?? null,
            nowMs: () => (nowMs += step),
            allowedCores: 2,
          });
          for (let i = 0; i < 3; i++) {
            const share = meter.sample();
            expectNamed(share === null || (share >= 0 && share <= 1), String(share)).toBe(true);
          }
        },
      ),
    );
  });

  /** A system made of texts, and a clock; both can be changed between samples. */
  function system(files: Record<string, string>, allowedCores: number) {
    const state = { files, nowMs: 0 };
    const meter = createCpuMeter({
      readText: (path) => state.files[path] ?? null,
      nowMs: () => state.nowMs,
      allowedCores,
    });
    return { state, meter };
  }

  test('a v2 container is measured against its quota, and a burst above it is full', () => {
    const { state, meter } = system(
      {
        '/proc/stat': PROC_STAT,
        '/proc/self/cgroup': '0::/\n',
        '/sys/fs/cgroup/cpu.max': '50000 100000',
        '/sys/fs/cgroup/cpu.stat': 'usage_usec 1000000',
      },
      2,
    );
    expect(meter.source).toBe('cgroup_v2');
    expectNamed(meter.sample(), 'one reading is no rate').toBe(null);
    state.nowMs = 1_000;
    state.files['/sys/fs/cgroup/cpu.stat'] = 'usage_usec 1250000';
    expect(meter.sample()).toBe(0.5);
    state.nowMs = 2_000;
    state.files['/sys/fs/cgroup/cpu.stat'] = 'usage_usec 2250000';
    expect(meter.sample()).toBe(1);
  });

  test('a v2 service outside a container is found by its path', () => {
    const { meter } = system(
      {
        '/proc/stat': PROC_STAT,
        '/proc/self/cgroup': '0::/system.slice/worker.service\n',
        '/sys/fs/cgroup/system.slice/worker.service/cpu.max': '100000 100000',
        '/sys/fs/cgroup/system.slice/worker.service/cpu.stat': 'usage_usec 0',
      },
      2,
    );
    expect(meter.source).toBe('cgroup_v2');
  });

  test('a v1 container whose own path is not mounted is measured at the root of the mount', () => {
    const { state, meter } = system(
      {
        '/proc/stat': PROC_STAT,
        '/proc/self/cgroup': '2:cpuacct:/docker/abc\n1:cpu:/docker/abc\n',
        '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '100000',
        '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
        '/sys/fs/cgroup/cpuacct/cpuacct.usage': '0',
      },
      2,
    );
    expect(meter.source).toBe('cgroup_v1');
    meter.sample();
    state.nowMs = 1_000;
    state.files['/sys/fs/cgroup/cpuacct/cpuacct.usage'] = '250000000';
    expect(meter.sample()).toBe(0.25);
  });

  test('without a limit the whole machine counts', () => {
    const { state, meter } = system(
      {
        '/proc/stat': PROC_STAT,
        '/proc/self/cgroup': '0::/\n',
        '/sys/fs/cgroup/cpu.max': 'max 100000',
        '/sys/fs/cgroup/cpu.stat': 'usage_usec 0',
      },
      2,
    );
    expect(meter.source).toBe('host');
    meter.sample();
    state.files['/proc/stat'] = PROC_STAT.replace('cpu  100 0 50 800', 'cpu  175 0 50 825');
    expect(meter.sample()).toBe(0.75);
  });

  test('CPU affinity is a limit too', () => {
    const { meter } = system(
      {
        '/proc/stat': PROC_STAT,
        '/proc/self/cgroup': '0::/\n',
        '/sys/fs/cgroup/cpu.max': 'max 100000',
        '/sys/fs/cgroup/cpu.stat': 'usage_usec 0',
      },
      1,
    );
    expect(meter.source).toBe('cgroup_v2');
  });

  test('a counter that goes back, a file that goes away and a clock that stands still say nothing', () => {
    const { state, meter } = system({ '/proc/stat': PROC_STAT }, 2);
    meter.sample();
    state.files['/proc/stat'] = PROC_STAT.replace('cpu  100', 'cpu  10');
    expect(meter.sample()).toBe(null);
    expectNamed(meter.sample(), 'no time has passed').toBe(null);
    delete state.files['/proc/stat'];
    expect(meter.sample()).toBe(null);
    state.files['/proc/stat'] = PROC_STAT;
    expectNamed(meter.sample(), 'nothing to compare with').toBe(null);
  });

  test('a system that tells nothing has no meter', () => {
    const { meter } = system({}, 2);
    expect(meter.source).toBe(null);
    expect(meter.sample()).toBe(null);
  });

  testUnless(process.platform === 'linux' ? null : 'needs Linux')(
    'this system, when it is Linux, is measured',
    () => {
      const meter = createCpuMeter(systemCpu());
      expect(meter.source).not.toBe(null);
      expect(meter.sample()).toBe(null);
      const end = performance.now() + 60;
      while (performance.now() < end);
      const share = meter.sample();
      expectNamed(share, String(share)).not.toBe(null);
      expectNamed(share, String(share)).toBeGreaterThan(0);
      expectNamed(share, String(share)).toBeLessThanOrEqual(1);
    },
  );
});
