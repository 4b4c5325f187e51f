/** The demo as a user runs it: it ends well, nothing is left behind, and it says what is wrong. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { DemoSummary } from '../../sidecar/demo/summary.ts';
import { modulePath } from '../../sidecar/demo/tied-process.ts';
import { eventually } from '../support/eventually.ts';

const MAIN = modulePath('../main');

/** A bootstrap node, three workers and the local one, a sidecar for each. */
const PROCESSES = 9;

/** A demo with a folder for temporary files of its own, by which its processes are known. */
class Demo {
  readonly folder = mkdtempSync(join(tmpdir(), 'dht-sidecar-demo-test-'));
  readonly child;
  out = '';
  err = '';

  constructor(t: TestContext, ...args: string[]) {
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
    t.after(() => {
      this.child.kill('SIGKILL');
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Resolves when traffic begins; rejects with what it said if it ends before. */
  async started(): Promise<void> {
    const isOver = (): boolean => this.out.includes('all up') || this.child.exitCode !== null;
    await eventually('traffic begins', isOver, Boolean);
    assert.ok(this.out.includes('all up'), `${this.out}\n${this.err}`);
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

const withoutProc = existsSync('/proc/self/environ') ? false : 'looks for processes in /proc';

test('no request fails although a worker is killed, and nothing is left', {
  skip: withoutProc,
}, async (t) => {
  const demo = new Demo(t, '--seconds', '6', '--json');
  const code = await demo.ended();
  assert.equal(code, 0, `${demo.err}\n${demo.out}`);
  assert.equal(demo.err, '');
  const report = JSON.parse(demo.out) as DemoSummary;
  assert.match(demo.out, /^\{.*\}\n$/, 'one line, nothing but the object');
  assert.equal(report.failed, 0);
  assert.deepEqual(report.failures, []);
  assert.equal(report.killed, 'gpu-1');
  assert.equal(report.restarted, 'gpu-1');
  assert.ok((report.used_again_after_s ?? 0) > 0);
  assert.deepEqual(Object.keys(report.per_worker), ['cpu-1', 'gpu-1', 'gpu-2', 'gpu-3']);
  for (const [worker, answers] of Object.entries(report.per_worker)) assert.ok(answers > 0, worker);
  const answers = Object.values(report.per_worker).reduce((sum, each) => sum + each, 0);
  assert.equal(answers, report.requests);
  for (const [kind, requests] of Object.entries(report.per_kind)) assert.ok(requests > 0, kind);
  assert.equal(report.stats.local_requests, report.per_kind.local);
  // What the app asked for again went through the sidecar again.
  const forwarded = Number(report.stats.forwarded_requests) - (report.requests - report.per_kind.local);
  assert.ok(forwarded >= report.resumed && forwarded <= 2 * report.resumed, `${forwarded}`);
  assert.ok((report.cache_hit_rate ?? 0) > 0.9 && (report.dht_lookups ?? 0) >= 1);
  assert.ok((report.p50_ms ?? 0) > 0 && (report.p99_ms ?? 0) >= (report.p50_ms ?? 0));
  assert.deepEqual(demo.processes(), []);
  assert.deepEqual(demo.files(), []);
});

for (const [signal, ending] of [
  ['SIGINT', 1],
  ['SIGTERM', 1],
  ['SIGKILL', 'SIGKILL'],
] as const) {
  test(`nothing is left after ${signal}`, { skip: withoutProc }, async (t) => {
    const demo = new Demo(t);
    await demo.started();
    assert.equal(demo.processes().length, PROCESSES);
    demo.child.kill(signal);
    assert.equal(await demo.ended(), ending);
    if (signal !== 'SIGKILL') {
      assert.equal(demo.err, 'dht-sidecar demo: interrupted\n');
      assert.deepEqual(demo.processes(), []);
      assert.deepEqual(demo.files(), []);
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

test('a process that dies by itself ends the demo, with its last words', { skip: withoutProc }, async (t) => {
  const demo = new Demo(t, '--seconds', '60');
  await demo.started();
  const sidecar = demo
    .processes()
    .find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('gpu-2.json'));
  assert.ok(sidecar);
  process.kill(sidecar, 'SIGKILL');
  assert.equal(await demo.ended(), 1);
  assert.match(
    demo.err,
    /^dht-sidecar demo: the sidecar of gpu-2 ended by itself \(SIGKILL\):\n(?: {4}\{.*\n)*? {4}\{.*sidecar listens/,
  );
  assert.deepEqual(demo.processes(), []);
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
  assert.equal(status, 64);
  assert.equal(String(stdout), '');
  assert.match(
    String(stderr),
    /--workers: must be a whole number from 1 to 12\n {2}--seconds: must be a number from 2/,
  );
  const unknown = spawnSync(process.execPath, [MAIN, 'demo', '--worker', '2']);
  assert.equal(unknown.status, 64);
  assert.match(String(unknown.stderr), /--worker/);
});
