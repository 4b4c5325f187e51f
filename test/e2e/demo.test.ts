/** The demo as a user runs it: it ends well, nothing is left behind, and it says what is wrong. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { DemoSummary } from '../../sidecar/demo/summary.ts';
import { modulePath } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const MAIN = modulePath('../main');

/** A bootstrap node, three workers and the local one, a sidecar for each. */
const PROCESSES = 9;

/** A demo with a folder for temporary files of its own, by which its processes are known. */
class Demo {
  readonly folder = mkdtempSync(join(tmpdir(), 'dht-sidecar-demo-test-'));
  readonly child;
  out = '';
  err = '';

  constructor(...args: string[]) {
    // As in a shell of a user of this program, with settings that are none of the demo's business.
    const env = {
      PATH: process.env.PATH,
      TMPDIR: this.folder,
      SIDECAR_MESH_KEY: 'none',
      SIDECAR_CONFIG: '/none',
    };
    this.child = spawn(process.execPath, [MAIN, 'demo', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    onTestEnd(() => {
      this.child.kill('SIGKILL');
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Resolves when traffic begins; rejects with what it said if it ends before. */
  async started(): Promise<void> {
    const isOver = (): boolean => this.out.includes('all up') || this.child.exitCode !== null;
    await eventually('traffic begins', isOver, Boolean);
    expectNamed(this.out, `${this.out}\n${this.err}`).toContain('all up');
  }

  async ended(): Promise<number | string> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'close');
    return this.child.exitCode ?? this.child.signalCode ?? '';
  }

  /** Pids of the processes that it has started and that live. */
  processes(): number[] {
    const mark = `TMPDIR=${this.folder}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== this.child.pid)
      .filter((pid) => environmentOf(pid).includes(mark))
      .map(Number);
  }

  /** Of its own, not of the runtime. */
  files(): string[] {
    return readdirSync(this.folder).filter((name) => name.startsWith('dht-sidecar'));
  }
}

function environmentOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

const withoutProc = existsSync('/proc/self/environ') ? null : 'looks for processes in /proc';

describe('the demo', () => {
  testUnless(withoutProc)('no request fails although a worker is killed, and nothing is left', async () => {
    const demo = new Demo('--seconds', '6', '--json');
    const code = await demo.ended();
    expectNamed(code, `${demo.err}\n${demo.out}`).toBe(0);
    expect(demo.err).toBe('');
    const report = JSON.parse(demo.out) as DemoSummary;
    expectNamed(demo.out, 'one line, nothing but the object').toMatch(/^\{.*\}\n$/);
    expect(report.failed).toBe(0);
    expect(report.failures).toStrictEqual([]);
    expect(report.killed).toBe('gpu-1');
    expect(report.restarted).toBe('gpu-1');
    expect(report.used_again_after_s ?? 0).toBeGreaterThan(0);
    expect(Object.keys(report.per_worker)).toStrictEqual(['cpu-1', 'gpu-1', 'gpu-2', 'gpu-3']);
    for (const [worker, answers] of Object.entries(report.per_worker))
      expectNamed(answers, worker).toBeGreaterThan(0);
    const answers = Object.values(report.per_worker).reduce((sum, each) => sum + each, 0);
    expect(answers).toBe(report.requests);
    for (const [kind, requests] of Object.entries(report.per_kind))
      expectNamed(requests, kind).toBeGreaterThan(0);
    expect(report.stats.local_requests).toBe(report.per_kind.local);
    // What the app asked for again went through the sidecar again.
    const forwarded = Number(report.stats.forwarded_requests) - (report.requests - report.per_kind.local);
    expectNamed(forwarded, `${forwarded}`).toBeGreaterThanOrEqual(report.resumed);
    expectNamed(forwarded, `${forwarded}`).toBeLessThanOrEqual(2 * report.resumed);
    expect(report.cache_hit_rate ?? 0).toBeGreaterThan(0.9);
    expect(report.dht_lookups ?? 0).toBeGreaterThanOrEqual(1);
    expect(report.p50_ms ?? 0).toBeGreaterThan(0);
    expect(report.p99_ms ?? 0).toBeGreaterThanOrEqual(report.p50_ms ?? 0);
    expect(demo.processes()).toStrictEqual([]);
    expect(demo.files()).toStrictEqual([]);
  });

  for (const [signal, ending] of [
    ['SIGINT', 1],
    ['SIGTERM', 1],
    ['SIGKILL', 'SIGKILL'],
  ] as const) {
    testUnless(withoutProc)(`nothing is left after ${signal}`, async () => {
      const demo = new Demo();
      await demo.started();
      expect(demo.processes()).toHaveLength(PROCESSES);
      demo.child.kill(signal);
      expect(await demo.ended()).toBe(ending);
      if (signal !== 'SIGKILL') {
        expect(demo.err).toBe('dht-sidecar demo: interrupted\n');
        expect(demo.processes()).toStrictEqual([]);
        expect(demo.files()).toStrictEqual([]);
        return;
      }
      // Nobody is there to wait for them: each ends by itself.
      await eventually(
        'all processes end',
        () => demo.processes(),
        (left) => left.length === 0,
      );
      await eventually(
        'no file is left',
        () => demo.files(),
        (left) => left.length === 0,
      );
    });
  }

  testUnless(withoutProc)('a process that dies by itself ends the demo, with its last words', async () => {
    const demo = new Demo('--seconds', '60');
    await demo.started();
    const sidecar = demo
      .processes()
      .find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('gpu-2.json'));
    mustHold(sidecar);
    process.kill(sidecar, 'SIGKILL');
    expect(await demo.ended()).toBe(1);
    expect(demo.err).toMatch(
      /^dht-sidecar demo: the sidecar of gpu-2 ended by itself \(SIGKILL\):\n(?: {4}\{.*\n)*? {4}\{.*sidecar listens/,
    );
    expect(demo.processes()).toStrictEqual([]);
  });

  test('wrong options end with 64 and say all of them', () => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [
      MAIN,
      'demo',
      '--workers',
      '0',
      '--seconds',
      'x',
    ]);
    expect(status).toBe(64);
    expect(String(stdout)).toBe('');
    expect(String(stderr)).toMatch(
      /--workers: must be a whole number from 1 to 12\n {2}--seconds: must be a number from 2/,
    );
    const unknown = spawnSync(process.execPath, [MAIN, 'demo', '--worker', '2']);
    expect(unknown.status).toBe(64);
    expect(String(unknown.stderr)).toMatch(/--worker/);
  });
});
