/**
 * No rules for web pages, for tests that are about something else: any Host and any Origin pass, and nothing is added.
 */
import type { WebPages } from '../../../sidecar/core/http/web-pages.ts';

export const ANY_HOST: Pick<WebPages, 'judge'> = { judge: () => ({ kind: 'own' }) };
