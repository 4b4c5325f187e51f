/**
 * What the configuration takes from the host where nothing is set: its name, addresses and GPU.
 *
 * The only part of the configuration that asks the system, so that tests pass made-up hosts. Files of the NVIDIA driver
 * are read instead of running nvidia-smi: that takes up to seconds, and is absent from many containers that see the
 * GPU.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { delimiter, join } from 'node:path';
import { subnetOf } from './parsers.ts';
import type { Capabilities } from './service-parsers.ts';

export interface HostFacts {
  readonly hostName: string;
  /** Of all interfaces, in the system's order, without zones. */
  readonly addresses: readonly string[];
  readonly gpu: { readonly present: boolean; readonly model: string | null };
}

const GPU_DIRECTORY = '/proc/driver/nvidia/gpus';

function gpuModel(): string | null {
  try {
    for (const bus of readdirSync(GPU_DIRECTORY)) {
      const information = readFileSync(join(GPU_DIRECTORY, bus, 'information'), 'utf8');
      const model = /^Model:\s*([^\r\n]{1,128}?)\s*$/m.exec(information)?.[1];
      if (model !== undefined) return model;
    }
  } catch {
    // No NVIDIA driver, or its files are not visible here: the model stays unknown.
  }
  return null;
}

/** Asks the system; never throws. */
export function readHostFacts(path: string = process.env.PATH ?? ''): HostFacts {
  let addresses: string[] = [];
  try {
    addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((one) => one.address));
  } catch {
    // Some sandboxes forbid it; then there is no VPN address to find.
  }
  const present =
    existsSync('/dev/nvidia0') ||
    path.split(delimiter).some((directory) => directory !== '' && existsSync(join(directory, 'nvidia-smi')));
  return { hostName: hostname(), addresses, gpu: { present, model: present ? gpuModel() : null } };
}

/** The first address of the host inside the network; null when there is none. */
export function vpnAddress(network: string, addresses: readonly string[]): string | null {
  const contains = subnetOf(network);
  return contains === null ? null : (addresses.find((address) => contains(address)) ?? null);
}

/** What the record says of the worker unless it is configured. */
export function detectedCapabilities(host: HostFacts): Capabilities {
  if (!host.gpu.present) return { has_gpu: false, worker_type: 'cpu' };
  const type = host.gpu.model === null ? {} : { gpu_type: host.gpu.model };
  return { has_gpu: true, ...type, worker_type: 'gpu' };
}
