/**
 * The image's HEALTHCHECK: exit 0 while the program of this container lives.
 *
 * A file of its own, because the image has no curl and the address is the one that SIDECAR_ADMIN names. It asks
 * the sidecar for life (/livez), not for readiness: one without peers must not be restarted for it. A bootstrap
 * node has no admin port; there it looks whether the DHT's UDP port is bound. It must not know more than that.
 */
import { readFileSync } from 'node:fs';

const TIMEOUT_MS = 2500;
const DEFAULT_ADMIN = '127.0.0.1:9464';
const DEFAULT_DHT_PORT = '49737';

function portOf(listen) {
  return listen.slice(listen.lastIndexOf(':') + 1);
}

/** Whether a UDP socket of this container is bound to the port: local_address in /proc/net/udp is HEXIP:HEXPORT. */
function isBound(port) {
  const suffix = `:${Number(port).toString(16).toUpperCase().padStart(4, '0')}`;
  return ['/proc/net/udp', '/proc/net/udp6'].some((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .some((line) => line.trim().split(/\s+/)[1]?.endsWith(suffix)),
  );
}

async function isAlive(listen) {
  const colon = listen.lastIndexOf(':');
  const host = listen.slice(0, Math.max(colon, 0));
  // "every address" is where to listen, not where to call
  const target = ['', '0.0.0.0', '[::]'].includes(host) ? '127.0.0.1' : host;
  const url = `http://${target}:${portOf(listen)}/livez`;
  return (await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })).ok;
}

try {
  const command = readFileSync('/proc/1/cmdline', 'utf8').split('\0');
  const ok = command.includes('bootstrap')
    ? isBound(portOf(process.env.SIDECAR_DHT_LISTEN ?? DEFAULT_DHT_PORT))
    : await isAlive(process.env.SIDECAR_ADMIN ?? DEFAULT_ADMIN);
  process.exitCode = ok ? 0 : 1;
} catch (error) {
  console.error(`healthcheck: ${error.cause?.code ?? error.message}`);
  process.exitCode = 1;
}
