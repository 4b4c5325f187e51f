/** CPU pressure from the container's own file, and none where there is no such file. */
import { describe, expect, test } from '@jest/globals';
import { PressureMeter, parsePressureUs } from '../../sidecar/load/cpu-pressure.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const page = (totalUs: number) =>
  `some avg10=1.50 avg60=0.20 avg300=0.00 total=${totalUs}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n`;

function create(files: Record<string, string>) {
  const clock = { nowMs: 0 };
  const meter = PressureMeter.open({ readText: (path) => files[path] ?? null, nowMs: () => clock.nowMs });
  return { meter, clock };
}

describe('the CPU pressure', () => {
  test('the counter is read from the file, and nothing else is', () => {
    expect(parsePressureUs(page(123))).toBe(123);
    for (const text of [
      '',
      'full avg10=0.00 total=5',
      'some total=',
      'some total=-1',
      'some avg10=x total=5',
      '\0',
    ]) {
      expectNamed(parsePressureUs(text), text).toBe(null);
    }
  });

  test('it is the share of the time since the last look', () => {
    const file = '/sys/fs/cgroup/cpu.pressure';
    const files: Record<string, string> = { '/sys/fs/cgroup/cpu.max': 'max 100000', [file]: page(1_000_000) };
    const { meter, clock } = create(files);
    expectNamed(meter?.sample(), 'nothing to compare with').toBe(null);
    clock.nowMs = 1_000;
    files[file] = page(1_250_000);
    expect(meter?.sample()).toBe(0.25);
    clock.nowMs = 2_000;
    files[file] = page(9_250_000);
    expect(meter?.sample()).toBe(1);
    clock.nowMs = 3_000;
    files[file] = page(5);
    expectNamed(meter?.sample(), 'the counter went back').toBe(null);
    delete files[file];
    clock.nowMs = 4_000;
    expectNamed(meter?.sample(), 'gone is unknown').toBe(null);
  });

  test('the own group where it is mounted, and never the whole machine', () => {
    const own = { '/proc/self/cgroup': '0::/pod/a\n' };
    const group = '/sys/fs/cgroup/pod/a';
    expect(
      create({ ...own, [`${group}/cpu.max`]: 'max 100000', [`${group}/cpu.pressure`]: page(1) }).meter,
    ).not.toBe(null);
    expect(create({ '/sys/fs/cgroup/cpu.pressure': page(1), '/proc/pressure/cpu': page(1) }).meter).toBe(
      null,
    );
    expect(create({}).meter).toBe(null);
  });
});
