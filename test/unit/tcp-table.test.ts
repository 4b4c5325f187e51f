/** Which end of a TCP connection has closed, by the text of Linux and by real sockets. */
import { once } from 'node:events';
import net from 'node:net';
import { endianness, networkInterfaces } from 'node:os';
import { describe, expect } from '@jest/globals';
import { TcpTable } from '../../sidecar/http/sockets/tcp-table.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { testUnless } from '../support/runner/test-unless.ts';

const unlikeText = endianness() === 'LE' ? null : 'needs a machine with the low byte first';

/** Why there can be no connection to it here, or null. */
function lacks(host: string): string | null {
  if (process.platform !== 'linux') return 'needs /proc/net/tcp';
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return addresses.some(({ address }) => address === host) ? null : `needs ${host}`;
}

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue\n';
const ENDS = { localAddress: '127.0.0.1', localPort: 8080, remoteAddress: '127.0.0.1', remotePort: 51580 };
const NEAR = '0100007F:1F90';
const FAR = '0100007F:C97C';

function row(from: string, to: string, state: string): string {
  return `  12: ${from} ${to} ${state} 00000000:00000000 00:00000000 00000000     0        0 2083028 1 0 20 8 0 10 -1\n`;
}

describe("the kernel's table of TCP connections", () => {
  testUnless(unlikeText)('open while both ends are, and while nothing is known', () => {
    for (const text of ['', HEAD, HEAD + row(NEAR, FAR, '01') + row(FAR, NEAR, '01')]) {
      expectNamed(new TcpTable(text, '').isOver(ENDS), text).toBe(false);
    }
    const others = row('0100007F:1F91', FAR, '08') + row(NEAR, '0200007F:C97C', '08');
    expect(new TcpTable(HEAD + others, '').isOver(ENDS)).toBe(false);
    expect(new TcpTable(HEAD + row(NEAR, FAR, '08'), '').isOver({})).toBe(false);
  });

  testUnless(unlikeText)('an earlier connection between the same addresses says nothing of this one', () => {
    const earlier = row(FAR, NEAR, '06') + row(NEAR, FAR, '06');
    expect(new TcpTable(HEAD + row(NEAR, FAR, '01') + earlier, '').isOver(ENDS)).toBe(false);
  });

  testUnless(unlikeText)('over when its end has come, or waits at the other end', () => {
    expect(new TcpTable(HEAD + row(NEAR, FAR, '08'), '').isOver(ENDS)).toBe(true);
    expect(new TcpTable(HEAD + row(NEAR, FAR, '01') + row(FAR, NEAR, '04'), '').isOver(ENDS)).toBe(true);
  });

  testUnless(unlikeText)('IPv6 addresses are found, and IPv4 inside of them', () => {
    const mapped = '0000000000000000FFFF0000';
    const v4InV6 = { ...ENDS, localAddress: '::ffff:127.0.0.1', remoteAddress: '::ffff:127.0.0.1' };
    const near = row(mapped + NEAR, mapped + FAR, '01');
    expect(new TcpTable('', near).isOver(v4InV6)).toBe(false);
    expect(new TcpTable(row(FAR, NEAR, '04'), near).isOver(v4InV6)).toBe(true);
    const v6 = {
      localAddress: 'fd00:1:2::9',
      localPort: 8080,
      remoteAddress: 'fe80::1%eth0',
      remotePort: 51580,
    };
    // Words of four bytes, each with its low byte first: fd00:0001, 0002:0000, 0, 0000:0009.
    const [a, b] = ['010000FD000002000000000009000000', '000080FE000000000000000001000000'];
    expect(new TcpTable('', row(`${a}:1F90`, `${b}:C97C`, '08')).isOver(v6)).toBe(true);
    expect(new TcpTable('', row(`${a}:1F90`, `${b}:C97C`, '01')).isOver(v6)).toBe(false);
  });

  for (const host of ['127.0.0.1', '::1']) {
    testUnless(lacks(host))(`a real socket that is not read is seen to end: ${host}`, async () => {
      const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
      onTestEnd(() => server.close());
      server.listen(0, host);
      await once(server, 'listening');
      const client = net.connect((server.address() as net.AddressInfo).port, host);
      const [[socket]] = await Promise.all([once(server, 'connection'), once(client, 'connect')]);
      onTestEnd(() => socket.destroy());
      for (let n = 0; n < 200; n++) client.write(Buffer.alloc(65_536));
      expect((await TcpTable.read()).isOver(socket)).toBe(false);
      client.destroy();
      await eventually(
        'the end is seen',
        async () => (await TcpTable.read()).isOver(socket),
        (isOver) => isOver,
      );
    });
  }
});
