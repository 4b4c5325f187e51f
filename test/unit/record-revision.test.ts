/** How a peer's record is found to be behind what the peer says, and that no word of it has it fetched without end. */
import { describe, expect, test } from '@jest/globals';
import { decodeRevision, encodePeerState } from '../../sidecar/core/peers/peer-state.ts';
import { decodeRecord, encodeRecord } from '../../sidecar/core/peers/record.ts';
import { peerOf, recordOf, tableOf } from '../support/meshes/peers.ts';
import { expectNamed, mustHold } from '../support/runner/expectations.ts';

describe('the revision of a record', () => {
  test('it is told with the state, and what is none is not', () => {
    expect(decodeRevision(encodePeerState([], '', 7))).toBe(7);
    expect(decodeRevision(encodePeerState([]))).toBe(null);
    for (const revision of [-1, 1.5, '1', null, true, 2 ** 53, Number.NaN, {}])
      expectNamed(decodeRevision({ revision }), String(revision)).toBe(null);
    for (const json of [null, 1, [], 'x', undefined]) expect(decodeRevision(json)).toBe(null);
  });

  test('a record carries it, and one of an older sidecar is taken without', () => {
    const record = recordOf(1, { revision: 3 });
    expect(decodeRecord(JSON.parse(encodeRecord(record)))).toStrictEqual({ kind: 'ok', record });
    const older = recordOf(1, { revision: null });
    expect(encodeRecord(older)).not.toMatch(/revision/);
    expect(decodeRecord(JSON.parse(encodeRecord(older)))).toStrictEqual({ kind: 'ok', record: older });
    for (const revision of [-1, 1.5, '1', true, 2 ** 53, {}]) {
      const decoded = decodeRecord({ ...JSON.parse(encodeRecord(record)), revision });
      expect(decoded).toStrictEqual({ kind: 'bad', reason: 'revision: not a count' });
    }
  });

  test('a higher one than that of the record is news, once in a while', () => {
    const peer = peerOf(tableOf([recordOf(1, { revision: 3 })]), 1);
    for (const revision of [null, 0, 3]) expect(peer.isRecordBehind(revision, 1_000)).toBe(false);
    expect(peer.isRecordBehind(4, 1_000)).toBe(true);
    expectNamed(peer.isRecordBehind(4, 1_100), 'it is being fetched').toBe(false);
    expectNamed(peer.isRecordBehind(5, 1_600), 'it could not be').toBe(true);
    peer.adopt({ ...peer.record, seq: peer.record.seq + 1, revision: 5 }, 1_700);
    expect(peer.isRecordBehind(5, 9_000)).toBe(false);
  });

  test('against a record that does not tell its own nothing is behind', () => {
    const peer = peerOf(tableOf([recordOf(1, { revision: null })]), 1);
    mustHold(peer.record.revision === null);
    expect(peer.isRecordBehind(4, 1_000)).toBe(false);
  });
});
