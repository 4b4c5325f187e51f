/**
 * Who may be found by which topic: the worker of a certificate that names the service, and on the roster any member.
 *
 * Held by the nodes that store, so that who may not offer a service cannot make others look at it.
 */
import { includesService } from '../../core/peers/certificate.ts';
import type { Clock } from '../clock.ts';
import type { StoreRules } from '../dht/store-guard.ts';
import { topicOf } from '../dht/topic.ts';
import type { Identity } from '../membership/identity.ts';
import { ROSTER } from './roster.ts';
import { openRecord } from './sealed-record.ts';

export function storeRules(
  identity: Pick<Identity, 'revocations' | 'secrets' | 'verifyCertificate'>,
  shards: number,
  clock: Pick<Clock, 'unixMs'>,
): StoreRules {
  const { secrets } = identity;
  const isTopicOf = (topic: Buffer, service: string): boolean => {
    for (let shard = 0; shard < shards; shard++) {
      if (topicOf(secrets.topicKey, service, shard).equals(topic)) return true;
    }
    return false;
  };
  return {
    mayAnnounce(topic, publicKey, proof) {
      const certificate = identity.verifyCertificate(Buffer.from(proof), clock.unixMs() / 1000);
      if (certificate === null || certificate.workerKey !== publicKey.toString('hex')) return false;
      // Of one that may offer anything the topic cannot be told, and need not be.
      if (includesService(certificate.offers, ROSTER)) return true;
      return [ROSTER, ...certificate.offers].some((service) => isTopicOf(topic, service));
    },
    mayPut(publicKey, value) {
      const opened = openRecord(secrets, value, {
        nowMs: clock.unixMs(),
        maxSkewMs: Number.POSITIVE_INFINITY,
      });
      const key = publicKey.toString('hex');
      return opened.kind === 'ok' && opened.record.public_key === key && !identity.revocations.has(key);
    },
  };
}
