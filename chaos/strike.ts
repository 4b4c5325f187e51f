/**
 * Does a fault to a host, waits its time, and makes the host whole again.
 *
 * It must not know when, to whom, or what it is good for.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Fleet, Host } from './fleet.ts';
import type { Member } from './member.ts';
import type { ChaosEvent } from './plan.ts';

const BEHAVIOURS = {
  slow_worker: 'slow',
  sick_worker: 'sick',
  resetting_worker: 'resetting',
  breaking_worker: 'breaking',
} as const;

/** Of a slow process: a quarter of the time it runs. */
const STOPPED_MS = 90;
const RUNNING_MS = 30;

/** Of a network that flaps. */
const CUT_MS = 600;
const WHOLE_MS = 400;

/** Of packets on a poor line, each way. */
const LOST_RATIO = 0.05;

/** Resolves when all that was struck runs again; rejects when something does not start. */
export async function strike(fleet: Fleet, { fault, lastsMs, targets }: ChaosEvent): Promise<void> {
  if (fault === 'kill_bootstrap') return await killed([fleet.bootstrap], lastsMs);
  if (fault === 'suspend_app') return await suspended(firstApp(fleet).sidecar, lastsMs);
  const host = fleet.hosts[targets[0] ?? -1];
  if (host === undefined) throw new RangeError(`no host ${targets[0]}`);
  switch (fault) {
    case 'kill_sidecar':
      return await killed([host.sidecar], lastsMs);
    case 'kill_worker':
      return await killed([host.worker], lastsMs);
    case 'kill_both':
      return await killed([host.sidecar, host.worker], lastsMs);
    case 'suspend_sidecar':
      return await suspended(host.sidecar, lastsMs);
    case 'suspend_worker':
      return await suspended(host.worker, lastsMs);
    case 'slow_sidecar':
      return await slowed(host.sidecar, lastsMs);
    case 'partition':
    case 'split':
      return await parted(fleet, targets, lastsMs);
    case 'flap':
      return await flapped(fleet, targets, lastsMs);
    case 'lossy':
      return await undone(fleet.network.lose(targets, LOST_RATIO), lastsMs);
    case 'change_address':
      return await undone(fleet.network.changeAddress(targets[0] ?? -1), lastsMs);
    case 'drain':
      return await drained(fleet, host);
    default:
      await behave(host, BEHAVIOURS[fault]);
      await pause(lastsMs);
      await behave(host, 'sound');
  }
}

async function killed(members: readonly Member[], lastsMs: number): Promise<void> {
  await Promise.all(members.map((member) => member.kill()));
  await pause(lastsMs);
  await Promise.all(members.map((member) => member.start()));
}

async function suspended(member: Member, lastsMs: number): Promise<void> {
  member.suspend();
  await pause(lastsMs);
  member.resume();
}

async function slowed(member: Member, lastsMs: number): Promise<void> {
  const untilMs = performance.now() + lastsMs;
  while (performance.now() < untilMs) {
    await suspended(member, STOPPED_MS);
    await pause(RUNNING_MS);
  }
}

async function parted({ network }: Fleet, hosts: readonly number[], lastsMs: number): Promise<void> {
  await undone(network.cut(hosts), lastsMs);
}

async function flapped(fleet: Fleet, hosts: readonly number[], lastsMs: number): Promise<void> {
  const untilMs = performance.now() + lastsMs;
  while (performance.now() < untilMs) {
    await parted(fleet, hosts, CUT_MS);
    await pause(WHOLE_MS);
  }
}

async function undone(undo: () => void, lastsMs: number): Promise<void> {
  await pause(lastsMs);
  undo();
}

function firstApp({ apps }: Fleet): Fleet['apps'][number] {
  const [app] = apps;
  if (app === undefined) throw new RangeError('there is no app');
  return app;
}

async function drained({ crashes }: Fleet, { sidecar }: Host): Promise<void> {
  const how = await sidecar.stop();
  if (how !== 'exit code 0') crashes.push(`${sidecar.name} did not drain: ${how}`);
  await sidecar.start();
}

async function behave({ workerAt }: Host, as: string): Promise<void> {
  await fetch(`http://${workerAt}/behave?as=${as}`, { signal: AbortSignal.timeout(10_000) });
}
