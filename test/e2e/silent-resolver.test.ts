/**
 * A host whose resolver has fallen silent, with more names in use than getaddrinfo has threads: what needs no DNS goes
 * on, and what does is told by whom it waits.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { netnsReason } from '../support/host/netns.ts';
import { NetnsMesh } from '../support/meshes/netns-mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const NAME_SERVER = join(import.meta.dirname, '../support/host/name-server.ts');
const SERVICE = 'llm-inference';
const REMOTE = 'vision-ocr';
const SEEDS = 8;
const BURST = 40;

describe('a resolver that has fallen silent', () => {
  testUnless(netnsReason())(
    'costs neither the worker in /etc/hosts a request, nor a peer with an address',
    async () => {
      const { mesh, hosts } = await NetnsMesh.up(3);
      const [app, vpn, home] = hosts;
      if (app === undefined || vpn === undefined || home === undefined) throw new Error('three hosts');
      mesh.etc(app.number, {
        hosts: '127.0.0.1 localhost\n127.0.0.1 worker\n',
        'resolv.conf': 'nameserver 127.9.9.9\n',
      });
      const resolver = mesh.run(app.number, [NAME_SERVER, '127.9.9.9', '53'], {});
      if (resolver.child.stdout !== null) await once(resolver.child.stdout, 'data');
      const seeds = Array.from({ length: SEEDS }, (_, i) => `seed${i}.example.net:49737`);
      await Promise.all([
        vpn.start([REMOTE]),
        home.start([REMOTE], { SIDECAR_VPN_IP: 'none', SIDECAR_TUNNEL_URL: 'https://t1.example.net' }),
        app.start([SERVICE], {
          SIDECAR_SERVICES: `${SERVICE}=http://worker:9000`,
          SIDECAR_BOOTSTRAP: [mesh.bootstrapAddress, ...seeds].join(),
        }),
      ]);
      await eventually(
        'all seeds are being asked for',
        () => resolver.log(),
        (log) => seeds.every((_, i) => log.includes(`A seed${i}.example.net`)),
      );
      await app.get(REMOTE);
      await app.knows([vpn, home]);

      const burst = await Promise.all(
        Array.from({ length: BURST }, (_, i) => app.get(i % 2 === 0 ? SERVICE : REMOTE)),
      );
      expect(burst.map(({ status }) => status)).toStrictEqual(Array(BURST).fill(200));

      vpn.signal('SIGKILL');
      const refused = await eventually(
        'nobody is left but the one with a name',
        () => app.get(REMOTE),
        ({ status, body }) => status >= 500 && body.includes('t1.example.net'),
      );
      expect(refused.body).toMatch(/DNS does not answer/);
    },
    120_000,
  );
});
