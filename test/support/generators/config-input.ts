/**
 * A made-up surrounding for the configuration: no files, environment or host of the machine that tests.
 */
import type { ConfigInput } from '../../../sidecar/config/load.ts';
import { openIdentity } from '../../../sidecar/mesh/membership/identity.ts';

export const MESH_KEY = '8f3a1c5e7b9d0246813579bdf02468ace13579bdf02468ace13579bdf0246801';

export interface MadeUp {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Path → content. */
  readonly files?: Readonly<Record<string, string>>;
  /** Of devices eth0, eth1, and so on. */
  readonly addresses?: readonly string[];
  readonly gpu?: string | null;
  readonly hostName?: string;
}

export function configInput(made: MadeUp = {}): ConfigInput {
  const files = new Map(Object.entries(made.files ?? {}));
  return {
    args: made.args ?? [],
    env: made.env ?? {},
    readText: (path) => {
      const content = files.get(path);
      if (content === undefined) throw new Error('there is no such file');
      return content;
    },
    host: {
      hostName: made.hostName ?? 'box',
      addresses: (made.addresses ?? ['127.0.0.1', '192.0.2.7']).map((address, i) => ({
        device: `eth${i}`,
        address,
        isTunnel: false,
      })),
      gpu: {
        present: made.gpu !== undefined,
        count: made.gpu === undefined ? null : 1,
        model: made.gpu ?? null,
      },
      hardware: { cpuCores: 8, memoryBytes: 16 * 2 ** 30, arch: 'x64' },
    },
    checkMembership: (claim) => openIdentity({ ...claim, nowMs: 1_750_000_000_000 }),
  };
}
