/**
 * Leaves out a worker whose answers stand out: compares it with all who offer the same service, the worker beside us
 * among them.
 *
 * Called after an answer that was a fault, so that those that are good pay nothing for it.
 */
import { ejectIfOutlier, isSuspicious, lacksMeasure } from '../../core/peers/outlier.ts';
import type { Outlier } from '../../core/peers/service-health.ts';
import type { Standing } from '../../core/peers/standing.ts';
import type { LocalService } from '../worker/local-service.ts';
import type { PeerDirectory } from './directory.ts';

export interface OutlierOptions {
  readonly directory: Pick<PeerDirectory, 'peek'>;
  readonly services: ReadonlyMap<string, LocalService>;
}

/** `own` has just given an answer of this kind. */
export function ejectOutlier(
  own: Standing,
  kind: Outlier['of'],
  service: string,
  options: OutlierOptions,
  nowMs: number,
): void {
  ejectIfOutlier(own, kind, () => standingsOf(service, options), nowMs);
}

/** Whether the app here is better served by another worker, or the one beside it has to be measured against others. */
export function isLeftOut(local: LocalService, options: OutlierOptions, nowMs: number): boolean {
  const { name, standing } = local;
  if (local.isLeftOut(nowMs)) return true;
  return isSuspicious(standing, nowMs) && lacksMeasure(standing, standingsOf(name, options), nowMs);
}

function* standingsOf(service: string, { directory, services }: OutlierOptions): Iterable<Standing> {
  for (const peer of directory.peek(service)) {
    const standing = peer.endpoint(service)?.standing;
    if (standing !== undefined) yield standing;
  }
  const local = services.get(service);
  if (local !== undefined) yield local.standing;
}
