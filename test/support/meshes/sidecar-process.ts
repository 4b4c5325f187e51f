/**
 * One sidecar as a process, as a test sees it: its ports, what its admin port says, its log, its end.
 *
 * What test/support/meshes/mesh.ts has in one process, this has in several: for tests in which something is killed. It
 * must not know how it was configured.
 */
import type { HostPort } from '../../../sidecar/core/host-port.ts';
import type { LogLine, TiedProcess } from '../../../sidecar/demo/tied-process.ts';
import type { StatsJson } from '../../../sidecar/observe/metrics.ts';
import type { Readiness } from '../../../sidecar/observe/readiness.ts';
import { eventually } from '../runner/eventually.ts';
import { type Answer, type Sent, send } from '../wire/http-client.ts';
import type { PeerJson } from './mesh.ts';

export interface SidecarAddresses {
  readonly outbound: HostPort;
  readonly inbound: HostPort;
  readonly admin: HostPort;
}

/** Longer than a drain that has nothing to wait for. */
const STOP_LIMIT_MS = 30_000;

export class SidecarProcess {
  readonly id: string;
  readonly process: TiedProcess;
  readonly address: SidecarAddresses;

  constructor(id: string, process: TiedProcess, address: SidecarAddresses) {
    this.id = id;
    this.process = process;
    this.address = address;
  }

  /** A request of the app beside it. */
  call(sent: Sent): Promise<Answer> {
    return send(this.address.outbound, sent);
  }

  /** `GET /service/<service><path>` by the app beside it. */
  get(service: string, path = '/'): Promise<Answer> {
    return this.call({ target: `/service/${service}${path}` });
  }

  admin(target: string): Promise<Answer> {
    return send(this.address.admin, { target });
  }

  async stats(): Promise<StatsJson> {
    return JSON.parse((await this.admin('/stats')).body) as StatsJson;
  }

  async readyz(): Promise<Readiness> {
    return JSON.parse((await this.admin('/readyz')).body) as Readiness;
  }

  async peers(): Promise<readonly PeerJson[]> {
    return (JSON.parse((await this.admin('/peers')).body) as { peers: PeerJson[] }).peers;
  }

  /** The first log line, past or coming, with these fields; of those said at `sinceMs` (Unix ms) or later. */
  logged(fields: Readonly<Record<string, unknown>>, sinceMs = 0): Promise<LogLine> {
    const wanted = Object.entries(fields);
    const isWanted = (line: LogLine): boolean =>
      wanted.every(([key, value]) => line[key] === value) && saidAtMs(line) >= sinceMs;
    return this.process.line((line) => (isWanted(line) ? line : null));
  }

  /** Resolves when it knows exactly these workers, among others of other states, as `state`. */
  async knows(ids: readonly string[], state = 'ready'): Promise<readonly PeerJson[]> {
    return await eventually(
      `${this.id} knows ${ids.join(', ')} as ${state}`,
      () => this.peers(),
      (peers) => ids.every((id) => peers.some((peer) => peer.worker_id === id && peer.state === state)),
    );
  }

  /** Resolves when none of its peers has this name. */
  async forgets(id: string): Promise<void> {
    await eventually(
      `${this.id} forgets ${id}`,
      () => this.peers(),
      (peers) => peers.every((peer) => peer.worker_id !== id),
    );
  }

  /** SIGTERM; resolves with how it ended: `exit code 0`, or the signal. */
  stop(): Promise<string> {
    return this.process.stop(STOP_LIMIT_MS);
  }
}

/** Unix ms of a log line. */
export function saidAtMs({ time }: LogLine): number {
  return Date.parse(String(time));
}
