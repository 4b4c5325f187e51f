/** The heartbeat of event streams stands between an attempt and its client, and nothing else of theirs is changed. */
import { expect, test } from '@jest/globals';
import type { Downstream, DownstreamHandler } from '../../sidecar/http/exchange.ts';
import { CoarseTimers } from '../../sidecar/http/sockets/timers.ts';
import { StreamHeartbeat } from '../../sidecar/proxy/inbound/stream-heartbeat.ts';
import { mustHold } from '../support/runner/expectations.ts';

test('what the attempt does to its client, and the client to it, arrives as it was', () => {
  const calls: unknown[][] = [];
  let client: DownstreamHandler | null = null;
  const noting =
    <T>(name: string, result: T) =>
    (...args: unknown[]): T => {
      calls.push([name, ...args]);
      return result;
    };
  const inner = {
    ...{ head: { method: 'POST' }, version: '1.1', remoteAddress: '10.0.0.1' },
    ...{ hasBody: true, isStarted: false, isFlushed: false },
    attach: (handler: DownstreamHandler) => {
      client = handler;
    },
    resumeBody: noting('resumeBody', undefined),
    informational: noting('informational', undefined),
    start: noting('start', undefined),
    write: noting('write', false),
    end: noting('end', undefined),
    destroy: noting('destroy', undefined),
    upgrade: noting('upgrade', 'the bytes'),
  } as unknown as Downstream;
  const heartbeat = new StreamHeartbeat(inner, 1_000, new CoarseTimers(20));
  for (const name of ['head', 'version', 'remoteAddress', 'hasBody', 'isStarted', 'isFlushed'] as const)
    expect(heartbeat[name]).toBe(inner[name]);

  const chunk = Buffer.from('data');
  heartbeat.resumeBody();
  heartbeat.informational(103, 'Hint', ['A', 'b']);
  heartbeat.start(200, 'OK', ['Content-Type', 'text/plain'], null);
  expect(heartbeat.write(chunk)).toBe(false);
  heartbeat.end(['T', 'u']);
  heartbeat.destroy();
  expect(heartbeat.upgrade('Switching', ['C', 'd'], 'websocket')).toBe('the bytes');
  expect(calls.splice(0)).toStrictEqual([
    ['resumeBody'],
    ['informational', 103, 'Hint', ['A', 'b']],
    ['start', 200, 'OK', ['Content-Type', 'text/plain'], null],
    ['write', chunk],
    ['end', ['T', 'u']],
    ['destroy'],
    ['upgrade', 'Switching', ['C', 'd'], 'websocket'],
  ]);

  heartbeat.attach({
    onBody: noting('onBody', true),
    onBodyEnd: noting('onBodyEnd', undefined),
    holdsBody: true,
    onDrain: noting('onDrain', undefined),
    onGone: noting('onGone', undefined),
  });
  const attached = client as DownstreamHandler | null;
  mustHold(attached !== null);
  expect([attached.onBody(chunk), attached.holdsBody]).toStrictEqual([true, true]);
  attached.onBodyEnd(['T', 'u']);
  attached.onDrain();
  attached.onGone();
  expect(calls).toStrictEqual([['onBody', chunk], ['onBodyEnd', ['T', 'u']], ['onDrain'], ['onGone']]);
});
