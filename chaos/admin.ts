/**
 * What the admin port of a sidecar and the kernel say of a process: gauges, memory, open files.
 *
 * It must not judge.
 */
import { readdirSync, readFileSync } from 'node:fs';

const TIMEOUT_MS = 5_000;

/** Of all sidecars of the fleet: some have their admin port beyond loopback. */
export const ADMIN_TOKEN = 'admin-token-of-the-fleet';
const HEADERS = { authorization: `Bearer ${ADMIN_TOKEN}` };

/** null when there is no response in time. `at`: host:port. */
export async function getJson<T>(at: string, path: string): Promise<T | null> {
  try {
    const answer = await fetch(`http://${at}${path}`, {
      headers: HEADERS,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return (await answer.json()) as T;
  } catch {
    return null;
  }
}

/** The sum of a metric over its labels, also over several names; NaN when there is no response. */
export async function gaugeSum(at: string, ...names: readonly string[]): Promise<number> {
  try {
    const answer = await fetch(`http://${at}/metrics`, {
      headers: HEADERS,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    let sum = 0;
    for (const line of (await answer.text()).split('\n')) {
      const match = /^(\w+)(?:\{.*\})? (\S+)$/.exec(line);
      if (match !== null && names.includes(match[1] as string)) sum += Number(match[2]);
    }
    return sum;
  } catch {
    return Number.NaN;
  }
}

export interface Usage {
  readonly files: number;
  readonly residentMb: number;
}

export function usageOf(pid: number): Usage {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kb = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  return { files: readdirSync(`/proc/${pid}/fd`).length, residentMb: kb / 1024 };
}
