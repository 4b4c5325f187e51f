/**
 * What the configuration takes from the host where nothing is set: its name, addresses and GPU.
 *
 * The only part of the configuration that asks the system, so that tests pass made-up hosts. Files of the NVIDIA driver
 * are read instead of running nvidia-smi: that takes up to seconds, and is absent from many containers that see the
 * GPU.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { delimiter, join } from 'node:path';
import { RECORD_LIMITS } from '../core/peers/record.ts';
import type { Capabilities } from '../core/peers/requirements.ts';
import type { HostAddress } from '../core/peers/vpn-address.ts';

export interface HostFacts {
  /** Permissions of a file, as stat tells them; null where there is none. Absent: nothing is known of files. */
  readonly fileMode?: (path: string) => number | null;
  readonly hostName: string;
  /** Of all devices, in the system's order; empty where the system does not tell. */
  readonly addresses: readonly HostAddress[];
  /** `count` and `model` as far as the driver's files are visible here; the model of the first. */
  readonly gpu: { readonly present: boolean; readonly count: number | null; readonly model: string | null };
  readonly hardware: {
    /** That this process may use. */
    readonly cpuCores: number;
    /** Of the container's limit or the machine. */
    readonly memoryBytes: number;
    /** As Node names it: x64, arm64. */
    readonly arch: string;
  };
}

const GPU_DIRECTORY = '/proc/driver/nvidia/gpus';

function gpus(): { readonly count: number | null; readonly model: string | null } {
  try {
    const buses = readdirSync(GPU_DIRECTORY);
    const models = buses.map((bus) => {
      const information = readFileSync(join(GPU_DIRECTORY, bus, 'information'), 'utf8');
      return /^Model:\s*([^\r\n]{1,128}?)\s*$/m.exec(information)?.[1];
    });
    return { count: buses.length, model: models.find((model) => model !== undefined) ?? null };
  } catch {
    // No NVIDIA driver, or its files are not visible here.
    return { count: null, model: null };
  }
}

/** A limit above what the machine has is none. */
function memoryBytes(): number {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}

/** Asks the system; never throws. */
export function readHostFacts(path: string = process.env.PATH ?? ''): HostFacts {
  const present =
    existsSync('/dev/nvidia0') ||
    path.split(delimiter).some((directory) => directory !== '' && existsSync(join(directory, 'nvidia-smi')));
  const gpu = present ? { present, ...gpus() } : { present, count: null, model: null };
  const hardware = { cpuCores: availableParallelism(), memoryBytes: memoryBytes(), arch: process.arch };
  return { hostName: hostname(), addresses: hostAddresses(), gpu, hardware, fileMode };
}

function fileMode(path: string): number | null {
  try {
    return statSync(path).mode;
  } catch {
    return null;
  }
}

const NO_LINK_ADDRESS = '00:00:00:00:00:00';

/** Asks the system; never throws. */
export function hostAddresses(): readonly HostAddress[] {
  try {
    return Object.entries(networkInterfaces()).flatMap(([device, list]) =>
      (list ?? []).map(({ address, internal, mac }) => ({
        device,
        address,
        isTunnel: !internal && mac === NO_LINK_ADDRESS,
      })),
    );
  } catch {
    // Some sandboxes forbid it; then there is no VPN address to find.
    return [];
  }
}

const BYTES_PER_GB = 2 ** 30;

/** What the record says of the worker unless it is configured. */
export function detectedCapabilities({ gpu, hardware }: HostFacts): Capabilities {
  const { cpuCores, memoryBytes: bytes, arch } = hardware;
  const machine = { cpu_cores: cpuCores, memory_gb: Math.round((bytes / BYTES_PER_GB) * 10) / 10, arch };
  if (!gpu.present) return { has_gpu: false, worker_type: 'cpu', ...machine };
  const count = gpu.count === null ? {} : { gpu_count: gpu.count };
  const type = gpu.model === null ? {} : { gpu_type: gpu.model };
  return { has_gpu: true, ...count, ...type, worker_type: 'gpu', ...machine };
}

/** Its own, and of what is detected as much as a record has room for. */
export function withDetected(own: Capabilities, detected: Capabilities): Capabilities {
  const room = RECORD_LIMITS.capabilities - Object.keys(own).length;
  const more = Object.entries(detected).filter(([name]) => !Object.hasOwn(own, name));
  return { ...own, ...Object.fromEntries(more.slice(0, room)) };
}
