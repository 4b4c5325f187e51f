/**
 * Groups of services that share their slots: one number for all of a group, whichever of them says it.
 *
 * A group is no entry of its own in the configuration, so that one who moves a second service onto a GPU adds one line
 * to each; what could be meant in two ways is a mistake.
 */
import type { ServiceConfig } from './config.ts';
import type { Problems } from './problems.ts';

/** What the entry of a service says itself: null = no limit, undefined = nothing. */
export type SaidConcurrency = ReadonlyMap<string, number | null | undefined>;

/** The services, each of a group with the limit of the group. `label`: where a service's limit is said. */
export function withGroupLimits(
  services: readonly ServiceConfig[],
  said: SaidConcurrency,
  label: (name: string) => string,
  problems: Problems,
): readonly ServiceConfig[] {
  const groups = new Map<string, ServiceConfig[]>();
  for (const service of services) {
    const { group } = service.slots;
    if (group !== null) groups.set(group, [...(groups.get(group) ?? []), service]);
  }
  const limits = new Map<string, number | null>();
  for (const [group, members] of groups) {
    const found = limitOf(members, said);
    if (found.kind === 'two') {
      const { one, other } = found;
      const why = `says otherwise than ${one}, and both share the slots of ${group}: say it once, or the same`;
      problems.add(label(other), why);
    } else if (found.limit === null) {
      const first = (members[0] as ServiceConfig).name;
      problems.add(label(first), `is needed: how many requests may those of ${group} serve at once, in all?`);
    }
    limits.set(group, found.kind === 'one' ? found.limit : null);
  }
  return services.map((service) => {
    const { group } = service.slots;
    return group === null ? service : { ...service, concurrency: limits.get(group) ?? null };
  });
}

type Limit =
  | { readonly kind: 'one'; readonly limit: number | null }
  | { readonly kind: 'two'; readonly one: string; readonly other: string };

/** Of those that say it; where none does, what holds for all services. */
function limitOf(members: readonly ServiceConfig[], said: SaidConcurrency): Limit {
  const saying = members.filter(({ name }) => said.get(name) !== undefined);
  const one = saying[0] ?? (members[0] as ServiceConfig);
  const other = saying.find(({ concurrency }) => concurrency !== one.concurrency);
  if (other !== undefined) return { kind: 'two', one: one.name, other: other.name };
  return { kind: 'one', limit: one.concurrency };
}
