/**
 * The cases: what the generator is told, what is shown of each, and against whom.
 *
 * Data alone: it must not know how a case is run.
 */
import type { FigureName } from './figures.ts';
import type { Hops, SystemName } from './systems.ts';

export interface Ratio {
  readonly figure: FigureName;
  readonly to: SystemName;
}

interface CaseBase {
  readonly name: string;
  readonly about: string;
  /** What is counted. */
  readonly unit: string;
  readonly shown: readonly FigureName[];
  readonly ratios: readonly Ratio[];
}

/** All systems are there and warm; one measurement after the other. */
export interface LoadCase extends CaseBase {
  readonly kind: 'load';
  readonly mode: 'closed' | 'rate' | 'sse' | 'once';
  readonly path: string;
  readonly args: readonly string[];
  /** Units that must come per second; fewer are a fault. */
  readonly expectedPerSecond?: number;
  /** Of a transfer; its unit is then the megabyte. */
  readonly transferMb?: number;
}

/** Each measurement has a system of its own, which then holds so many connections. */
export interface HoldCase extends CaseBase {
  readonly kind: 'hold';
  readonly mode: 'hold' | 'holdsse';
  readonly path: string;
  readonly connections: number;
}

/** Sidecars of their own, with a probe inside, at saturation. */
export interface AllocationCase extends CaseBase {
  readonly kind: 'allocation';
}

export type Case = LoadCase | HoldCase | AllocationCase;

const CONNECTIONS = 64;
const HELD = 1_000;
const STREAMS = 100;
const EVENTS_PER_SECOND = 50;
const REQUESTS_PER_SECOND = 1_000;
const REPLY_BYTES = 100;
const BYTES_PER_MB = 1_000_000;

/** Of a transfer: 1 GB, or less where time is short. */
export const TRANSFER_MB = 1_000;
export const QUICK_TRANSFER_MB = 200;

const SATURATED = [
  'perSecond',
  'cpuUs',
  'p50Us',
  'p99Us',
  'rssMb',
  'busyPercent',
  'endsBusyPercent',
] as const;
const SATURATED_RATIOS: readonly Ratio[] = [
  { figure: 'cpuUs', to: 'nginx' },
  { figure: 'p99Us', to: 'nginx' },
  { figure: 'cpuUs', to: 'http-proxy' },
];
const PACED = ['perSecond', 'cpuUs', 'p50Us', 'addedP50Us', 'p99Us'] as const;
const TRANSFER = ['perSecond', 'cpuUs', 'rssMb'] as const;

export const SATURATION_PATH = `/bytes/${REPLY_BYTES}`;
export const SATURATION_ARGS = ['-c', String(CONNECTIONS), '-n', String(REPLY_BYTES)];

export const QUICK_CASES = ['get-100', 'one-at-a-time', 'sse', 'allocation'];

/** In a quick run these are measured with two hops alone. */
const QUICK_TWO_HOPS: readonly string[] = ['one-at-a-time', 'sse'];

export function cases(transferMb: number): readonly Case[] {
  return [
    get('get-100', 'GET 100 B', REPLY_BYTES),
    get('get-10k', 'GET 10 KB', 10_240),
    post('post-1k', 'POST 1 KB', 1_024),
    post('post-100k', 'POST 100 KB', 102_400),
    {
      kind: 'load',
      name: 'one-at-a-time',
      about: 'GET 100 B, one connection, one request at a time',
      unit: 'req',
      mode: 'closed',
      path: SATURATION_PATH,
      args: ['-c', '1', '-n', String(REPLY_BYTES)],
      shown: PACED,
      ratios: [
        { figure: 'addedP50Us', to: 'nginx' },
        { figure: 'addedP50Us', to: 'http-proxy' },
      ],
    },
    {
      kind: 'load',
      name: 'rate',
      about: `GET 100 B, ${REQUESTS_PER_SECOND} requests/s, each timed from when it was due`,
      unit: 'req',
      mode: 'rate',
      path: SATURATION_PATH,
      args: ['-r', String(REQUESTS_PER_SECOND), ...SATURATION_ARGS],
      expectedPerSecond: REQUESTS_PER_SECOND,
      shown: PACED,
      ratios: [
        { figure: 'cpuUs', to: 'nginx' },
        { figure: 'p99Us', to: 'nginx' },
      ],
    },
    {
      kind: 'load',
      name: 'sse',
      about: `${STREAMS} event streams, ${EVENTS_PER_SECOND} events/s each`,
      unit: 'event',
      mode: 'sse',
      path: `/sse/${EVENTS_PER_SECOND}`,
      args: ['-c', String(STREAMS)],
      expectedPerSecond: STREAMS * EVENTS_PER_SECOND,
      shown: PACED,
      ratios: [
        { figure: 'cpuUs', to: 'nginx' },
        { figure: 'p99Us', to: 'nginx' },
        { figure: 'cpuUs', to: 'http-proxy' },
      ],
    },
    transfer('download', transferMb),
    transfer('upload', transferMb),
    {
      kind: 'hold',
      name: 'idle',
      about: `${HELD} idle keep-alive connections, each with its own to the origin`,
      unit: 'pair',
      mode: 'hold',
      path: `/gather/${HELD}`,
      connections: HELD,
      shown: ['growthKbEach', 'growthMb', 'rssMb', 'socketsEach'],
      ratios: [{ figure: 'growthKbEach', to: 'nginx' }],
    },
    {
      kind: 'hold',
      name: 'idle-sse',
      about: `${HELD} silent event streams`,
      unit: 'stream',
      mode: 'holdsse',
      path: '/sse/0',
      connections: HELD,
      shown: ['growthKbEach', 'growthMb', 'rssMb', 'socketsEach'],
      ratios: [{ figure: 'growthKbEach', to: 'nginx' }],
    },
    {
      kind: 'allocation',
      name: 'allocation',
      about: 'GET 100 B, 64 connections: what V8 allocates and collects in each sidecar',
      unit: 'req',
      shown: ['allocatedBytes', 'scavengesPerSecond', 'longestScavengeMs', 'collectingPercent'],
      ratios: [],
    },
  ];
}

function get(name: string, about: string, bytes: number): LoadCase {
  return saturated(name, about, `/bytes/${bytes}`, ['-n', String(bytes)]);
}

function post(name: string, about: string, bytes: number): LoadCase {
  return saturated(name, about, `/take/${bytes}`, ['-b', String(bytes), '-n', String(REPLY_BYTES)]);
}

function saturated(name: string, about: string, path: string, args: readonly string[]): LoadCase {
  return {
    kind: 'load',
    name,
    about: `${about}, ${CONNECTIONS} connections, saturated`,
    unit: 'req',
    mode: 'closed',
    path,
    args: ['-c', String(CONNECTIONS), ...args],
    shown: SATURATED,
    ratios: SATURATED_RATIOS,
  };
}

function transfer(name: 'download' | 'upload', transferMb: number): LoadCase {
  const bytes = String(transferMb * BYTES_PER_MB);
  const isDown = name === 'download';
  return {
    kind: 'load',
    name,
    about: `${transferMb} MB ${isDown ? 'down' : 'up'}, one connection`,
    unit: 'MB',
    mode: 'once',
    path: `/${isDown ? 'bytes' : 'take'}/${bytes}`,
    args: isDown ? ['-n', bytes] : ['-b', bytes, '-n', String(REPLY_BYTES)],
    transferMb,
    shown: TRANSFER,
    ratios: [
      { figure: 'perSecond', to: 'nginx' },
      { figure: 'perSecond', to: 'http-proxy' },
    ],
  };
}

/** Which systems a case is measured with. */
export function hopsOf(each: Case, isQuick: boolean): readonly Hops[] {
  return isQuick && QUICK_TWO_HOPS.includes(each.name) ? [0, 2] : [0, 1, 2];
}
