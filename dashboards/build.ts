/**
 * Writes dashboards/sidecar.json from sidecar.ts: `node dashboards/build.ts`. A test holds the file current.
 *
 * The JSON is kept in the repository, so that Grafana can be pointed at it without building anything.
 */

import { writeFileSync } from 'node:fs';
import { dashboard } from './sidecar.ts';

writeFileSync(new URL('./sidecar.json', import.meta.url), `${JSON.stringify(dashboard, null, 2)}\n`);
