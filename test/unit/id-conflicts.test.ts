/** Two workers with one id: said once for each pair, with both named. */
import { describe, expect, test } from '@jest/globals';
import { silentLog } from '../../sidecar/core/log.ts';
import type { WorkerRecord } from '../../sidecar/core/peers/record.ts';
import { IdConflicts } from '../../sidecar/mesh/discovery/id-conflicts.ts';
import { keyOf, recordOf, tableOf } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function setUp() {
  const table = tableOf([]);
  const said: string[] = [];
  const conflicts = new IdConflicts({
    table,
    own: { key: keyOf(9), workerId: 'worker-9', isAt: (record) => record.vpn_ip === '10.42.9.9' },
    log: { ...silentLog, warn: (_fields, message) => void said.push(message) },
  });
  const take = (record: WorkerRecord) => {
    table.apply(record, 'record', 0);
    conflicts.check(record);
  };
  return { said, take };
}

describe('two workers with one id', () => {
  test('both are named, with where they are, and once', () => {
    const { said, take } = setUp();
    take(recordOf(1, { vpn_ip: '10.42.0.1', inbound_port: 8000 }));
    take(recordOf(2, { worker_id: 'worker-2' }));
    expect(said).toStrictEqual([]);
    const twin = recordOf(3, {
      worker_id: 'worker-1',
      vpn_ip: null,
      inbound_port: null,
      tunnel_url: 'https://x.example',
    });
    take(twin);
    take({ ...twin, seq: 99 });
    take(recordOf(1, { vpn_ip: '10.42.0.1', inbound_port: 8000, seq: 99 }));
    expect(said).toHaveLength(1);
    expect(said[0] ?? '').toMatch(/worker-1: .* at https:\/\/x\.example, and .* at 10\.42\.0\.1:8000$/);
  });

  test('our own id too, unless it is a former life of ours', () => {
    const { said, take } = setUp();
    take(recordOf(4, { worker_id: 'worker-9', vpn_ip: '10.42.9.9' }));
    expect(said).toStrictEqual([]);
    take(recordOf(5, { worker_id: 'worker-9', vpn_ip: '10.42.0.5', inbound_port: 8000 }));
    expectNamed(said, 'with us, and with the other one').toHaveLength(2);
    expect(said[0] ?? '').toMatch(/worker-9: .* at 10\.42\.0\.5:8000, and .* at this sidecar$/);
  });

  test('who shuts down and who takes its place are no two', () => {
    const { said, take } = setUp();
    take(recordOf(1, { state: 'draining' }));
    const next = recordOf(2, { worker_id: 'worker-1' });
    take(next);
    take(recordOf(1, { state: 'draining', seq: 99 }));
    expect(said).toStrictEqual([]);
    take(recordOf(1, { state: 'ready', epoch: 9_000 }));
    expectNamed(said, 'it was not leaving after all').toHaveLength(1);
  });

  test('a thousand pairs are remembered; past that they are said again, so that the memory ends', () => {
    const { said, take } = setUp();
    const claim = (n: number, seq = 1): void => take(recordOf(n, { worker_id: 'same', seq }));
    for (let n = 1; n <= 45; n += 1) claim(n);
    expect(said).toHaveLength((45 * 44) / 2);
    claim(1, 2);
    expect(said).toHaveLength((45 * 44) / 2);
    claim(46);
    const before = said.length;
    claim(1, 3);
    expect(said.length).toBeGreaterThan(before);
  });
});
