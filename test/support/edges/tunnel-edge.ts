/**
 * Stands for a tunnel: ends TLS on loopback and passes the bytes on, as an edge and its connector do.
 *
 * The certificate is for tests alone, made once by openssl for localhost and 127.0.0.1, valid until 2126. It must
 * not know HTTP.
 */
import net from 'node:net';
import tls from 'node:tls';

export const TUNNEL_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBoDCCAUWgAwIBAgIUD39KMlySl89d5f5O47sXyiWvwTIwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLdHVubmVsLnRlc3QwIBcNMjYxMTIyMTgyNDI3WhgPMjEyNjEw
MjkxODI0MjdaMBYxFDASBgNVBAMMC3R1bm5lbC50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEfOCS1u15dEll6/uYA7kAZb+hrNbxqpiC9eaWVDaGcU6fMjP3
l833Mj2mmgDeZbPGbyOWU8+TcvuS0ZsD50CYz6NvMG0wHQYDVR0OBBYEFOhlJY2y
DdcS8ovlhtSqlrx802aRMB8GA1UdIwQYMBaAFOhlJY2yDdcS8ovlhtSqlrx802aR
MA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAoG
CCqGSM49BAMCA0kAMEYCIQC+OFTcZ6ss+9SUNYpO9vQs6eu8BQK40Wp8L1SC7vAl
LgIhAJbNwpkkRnDuHbhafWcfdyeMhbvsaBX7KvycKputPb5+
-----END CERTIFICATE-----
`;

export const TUNNEL_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGXTLuggOWD7ZF6jH
n4Sw6IZWGsRXZqjcPZNhyxPVsP2hRANCAAR84JLW7Xl0SWXr+5gDuQBlv6Gs1vGq
mIL15pZUNoZxTp8yM/eXzfcyPaaaAN5ls8ZvI5ZTz5Ny+5LRmwPnQJjP
-----END PRIVATE KEY-----
`;

export interface TunnelEdge {
  readonly url: string;
  readonly connections: number;
  close(): Promise<void>;
}

export async function startTunnelEdge(toPort: number): Promise<TunnelEdge> {
  const sockets = new Set<net.Socket>();
  let connections = 0;
  const server = tls.createServer({ cert: TUNNEL_CERTIFICATE, key: TUNNEL_KEY }, (outer) => {
    connections++;
    const inner = net.connect({ host: '127.0.0.1', port: toPort });
    for (const [socket, other] of [
      [outer, inner],
      [inner, outer],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    outer.pipe(inner);
    inner.pipe(outer);
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return {
    url: `https://localhost:${(server.address() as net.AddressInfo).port}`,
    get connections() {
      return connections;
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
