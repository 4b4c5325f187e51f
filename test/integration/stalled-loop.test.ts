/**
 * A process that stood still: what the kernel did meanwhile, a connection made or a response come in, is not late.
 */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { dial } from '../../sidecar/http/sockets/dial.ts';
import { CoarseTimer, CoarseTimers, setTimeoutAfterPoll } from '../../sidecar/http/sockets/timers.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

const LIMIT_MS = 20;

function standStill(): void {
  const untilMs = performance.now() + 5 * LIMIT_MS;
  while (performance.now() < untilMs);
}

async function listen(): Promise<{ readonly port: number; readonly server: net.Server }> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestEnd(() => server.close());
  return { port: (server.address() as net.AddressInfo).port, server };
}

/** Both ends of a connection. */
async function pair(): Promise<readonly [net.Socket, net.Socket]> {
  const { port, server } = await listen();
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const here = net.connect({ host: '127.0.0.1', port });
  const there = await accepted;
  onTestEnd(() => {
    here.destroy();
    there.destroy();
  });
  return [here, there];
}

describe('a process that stood still', () => {
  test('a connection that was made while the loop stood still is one', async () => {
    const { port } = await listen();
    const outcome = await new Promise<string>((resolve) => {
      dial(
        { host: '127.0.0.1', port },
        {
          connectMs: LIMIT_MS,
          tls: null,
          readBuffer: null,
          onConnected: (socket) => {
            socket.destroy();
            resolve('connected');
          },
          onFault: ({ code }) => resolve(code),
        },
      );
      standStill();
    });
    expect(outcome).toBe('connected');
  });

  const limits = {
    'a timer': (late: () => void) => setTimeoutAfterPoll(late, LIMIT_MS),
    'the common tick': (late: () => void) => {
      const timers = new CoarseTimers(LIMIT_MS);
      const deadline = new CoarseTimer(late);
      timers.arm(deadline, LIMIT_MS);
      return () => timers.disarm(deadline);
    },
  };
  for (const [name, arm] of Object.entries(limits)) {
    test(`bytes that came in while the loop stood still are in time, by ${name}`, async () => {
      const [here, there] = await pair();
      const outcome = await new Promise<string>((resolve) => {
        const cancel = arm(() => resolve('late'));
        here.once('data', () => {
          cancel();
          resolve('in time');
        });
        there.write('x');
        standStill();
      });
      expect(outcome).toBe('in time');
    });
  }

  test('a limit that has passed is told once, and not after it was cancelled', async () => {
    let passed = 0;
    await new Promise<void>((resolve) => {
      setTimeoutAfterPoll(() => {
        passed += 1;
        resolve();
      }, 1);
    });
    const cancel = setTimeoutAfterPoll(() => {
      passed += 1;
    }, 1);
    // Both timers are due in the same turn of the loop; the look at the sockets would come after it.
    const cancelled = new Promise<void>((resolve) => {
      setTimeout(() => {
        cancel();
        resolve();
      }, 2);
    });
    standStill();
    await cancelled;
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(passed).toBe(1);
  });
});
