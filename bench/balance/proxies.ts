/**
 * HAProxy and nginx in front of the workers: one process each, with one frontend and backend per entry.
 *
 * In HAProxy the counts belong to a backend, in nginx to an upstream block: entries of one process share nothing.
 * Both keep connections to workers open, check them where they can, and send a request again that could not be
 * delivered, as the sidecar does. It must not know the demands.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, until } from '../support/two-sidecars.ts';
import type { System } from './system.ts';

export interface Backend {
  readonly port: number;
  readonly slots: number;
  readonly speed: number;
}

/** `tuned`: with weights and maxconn set by hand from what each worker is, which neither has by itself. */
export const PROXY_KINDS = [
  'haproxy leastconn',
  'haproxy random(2)',
  'haproxy tuned',
  'nginx least_conn',
  'nginx random two',
] as const;

export type ProxyKind = (typeof PROXY_KINDS)[number];

const MAX_SAID = 4_096;

export async function startProxy(
  kind: ProxyKind,
  workers: readonly Backend[],
  entries: number,
): Promise<System> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-balance-'));
  const ports = await Promise.all(Array.from({ length: entries }, freePort));
  const isHaproxy = kind.startsWith('haproxy');
  const file = join(folder, 'proxy.conf');
  await writeFile(
    file,
    isHaproxy ? haproxyConf(kind, workers, ports) : nginxConf(kind, workers, ports, folder),
  );
  const [command, args] = isHaproxy
    ? ['/usr/sbin/haproxy', ['-db', '-f', file]]
    : ['/usr/sbin/nginx', ['-p', folder, '-c', file, '-e', 'stderr']];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  // Shown only if it does not start: it also tells of each worker that dies, as it should.
  let said = '';
  child.stderr?.on('data', (text) => {
    if (said.length < MAX_SAID) said += String(text);
  });
  const kill = (): void => void child.kill('SIGTERM');
  process.once('exit', kill);
  const bases = ports.map((port) => `http://127.0.0.1:${port}`);
  try {
    for (const base of bases) await until(async () => (await fetch(`${base}/?work=0`)).ok);
  } catch (error) {
    await ended(child);
    throw new Error(`${kind} does not serve: ${said}`, { cause: error });
  }
  return {
    name: kind,
    entries: bases,
    befall: () => Promise.resolve(),
    notes: () => Promise.resolve(''),
    async stop() {
      process.off('exit', kill);
      await ended(child);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), 2_000);
  await gone;
  clearTimeout(force);
}

function haproxyConf(kind: ProxyKind, workers: readonly Backend[], ports: readonly number[]): string {
  const balance = kind === 'haproxy random(2)' ? 'random(2)' : 'leastconn';
  const isTuned = kind === 'haproxy tuned';
  const servers = workers.map(({ port, slots, speed }, i) => {
    // Each entry may use its part of the slots; the rest waits at the entry.
    const tuned = isTuned
      ? ` weight ${slots * speed} maxconn ${Math.max(1, Math.ceil(slots / ports.length))}`
      : '';
    return `  server w${i} 127.0.0.1:${port} check inter 1s fall 2 rise 1${tuned}`;
  });
  const entry = (port: number, i: number): string =>
    [
      `frontend f${i}`,
      `  bind 127.0.0.1:${port}`,
      `  default_backend b${i}`,
      `backend b${i}`,
      `  balance ${balance}`,
      '  http-reuse always',
      ...servers,
    ].join('\n');
  return `${[
    'global',
    '  nbthread 1',
    '  maxconn 4000',
    'defaults',
    '  mode http',
    '  option redispatch 1',
    '  retries 3',
    '  retry-on conn-failure empty-response',
    '  timeout connect 1s',
    '  timeout client 120s',
    '  timeout server 120s',
    '  timeout queue 120s',
    ...ports.map(entry),
  ].join('\n')}\n`;
}

function nginxConf(
  kind: ProxyKind,
  workers: readonly Backend[],
  ports: readonly number[],
  folder: string,
): string {
  const balance = kind === 'nginx least_conn' ? 'least_conn' : 'random two';
  const servers = workers.map(({ port }) => `    server 127.0.0.1:${port} max_fails=1 fail_timeout=10s;`);
  const entry = (port: number, i: number): string =>
    [
      `  upstream u${i} {`,
      `    ${balance};`,
      ...servers,
      '    keepalive 256;',
      '  }',
      '  server {',
      `    listen 127.0.0.1:${port} backlog=1024;`,
      `    location / { proxy_pass http://u${i}; }`,
      '  }',
    ].join('\n');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (what) => `  ${what}_temp_path ${folder}/${what};`,
  );
  return `${[
    'daemon off;',
    'worker_processes 1;',
    `pid ${folder}/pid;`,
    'events { worker_connections 8000; }',
    'http {',
    '  access_log off;',
    ...temporary,
    '  proxy_http_version 1.1;',
    '  proxy_set_header Connection "";',
    '  proxy_connect_timeout 1s;',
    '  proxy_read_timeout 120s;',
    '  keepalive_requests 1000000;',
    ...ports.map(entry),
    '}',
  ].join('\n')}\n`;
}
