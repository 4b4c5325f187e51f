/**
 * Which web pages may call the two listeners of this host, by the configuration.
 *
 * Where a token is wanted any Host will do, since no page knows it that has only made its name mean this host. Whose
 * pages may call is the same for both.
 */
import type { Config } from '../config/config.ts';
import { WebPages } from '../core/http/web-pages.ts';

const ORIGINS_OPTION = 'outbound.origins (SIDECAR_OUTBOUND_ORIGINS)';

export function outboundPages({ outbound }: Pick<Config, 'outbound'>): WebPages {
  const isOpen = outbound.token === null && outbound.tokens.size === 0;
  return new WebPages({
    hosts: isOpen ? outbound.hosts : null,
    origins: outbound.origins,
    options: { hosts: 'outbound.hosts (SIDECAR_OUTBOUND_HOSTS)', origins: ORIGINS_OPTION },
  });
}

export function adminPages({ admin, outbound }: Pick<Config, 'admin' | 'outbound'>): WebPages {
  return new WebPages({
    hosts: admin.hosts,
    origins: outbound.origins,
    options: { hosts: 'admin.hosts (SIDECAR_ADMIN_HOSTS)', origins: ORIGINS_OPTION },
  });
}
