/**
 * `dht-sidecar bootstrap`: a persistent node of the private DHT and nothing else.
 *
 * To run beside a Nebula lighthouse, so that a mesh has two or three addresses that do not change. It answers the DHT
 * only: it stores sealed records and cannot route.
 */
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatHostPort } from '../core/host-port.ts';
import { createStdoutLog } from '../observe/log.ts';
import { type Command, EXIT_OK } from './command.ts';
import { startCommandNode } from './dht-node.ts';

export const bootstrap: Command = {
  help: `Usage: dht-sidecar bootstrap [options]

Runs a persistent node of the private DHT, for others to join by. Options are those of \`dht-sidecar run\`;
these matter here:

  --dht-listen host:port     where it listens (UDP), by default the VPN address, port 49737; the host must be
                             the one address that others reach it by (SIDECAR_DHT_LISTEN)
  --bootstrap host:port,…    other nodes of the same DHT (SIDECAR_BOOTSTRAP)
  --mesh-key-file PATH       the mesh key (or SIDECAR_MESH_KEY, SIDECAR_MESH_KEY_FILE)
  --log-level, --log-format  as for the sidecar
`,

  async run(context) {
    const { config } = loadConfig(context, 'bootstrap');
    const stop = context.stopSignal();
    const { log } = createStdoutLog({ ...config.log, workerId: config.worker.id });
    const node = await startCommandNode(config, context.nowMs(), {
      role: 'bootstrap',
      listen: config.dht.listen,
      bootstrap: othersOf(config),
      log,
    });
    const address = formatHostPort(node.address);
    log.info(
      { part: 'dht', address, hint: `others join with SIDECAR_BOOTSTRAP=${address}` },
      'DHT node listens',
    );
    const forget = node.onStatus((status) =>
      log.info(
        { part: 'dht', state: status.kind, nodes: status.nodes, hint: status.hint },
        'DHT state changed',
      ),
    );
    await new Promise<void>((resolve) => {
      if (stop.aborted) resolve();
      else stop.addEventListener('abort', () => resolve(), { once: true });
    });
    forget();
    await node.destroy();
    log.info({ part: 'dht' }, 'DHT node stopped');
    return EXIT_OK;
  },
};

function othersOf(config: Config): Config['dht']['bootstrap'] {
  const { host, port } = config.dht.listen;
  // One list for all nodes of a fleet names this one as well.
  return config.dht.bootstrap.filter((node) => node.host !== host || node.port !== port);
}
