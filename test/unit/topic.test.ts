/** Topics and shards. */
import { describe, expect, test } from '@jest/globals';
import { shardOf, shuffledShards, topicOf } from '../../sidecar/mesh/dht/topic.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const KEY = Buffer.alloc(32, 1);

describe('topics and shards', () => {
  test('a topic depends on key, service and shard, and on nothing else', () => {
    const topics = [
      topicOf(KEY, 'llm', 0),
      topicOf(KEY, 'llm', 1),
      topicOf(KEY, 'llm2', 0),
      topicOf(Buffer.alloc(32, 2), 'llm', 0),
    ].map((topic) => topic.toString('hex'));
    expect(new Set(topics).size).toBe(4);
    expect(topics.every((topic) => topic.length === 64)).toBe(true);
    expect(topicOf(KEY, 'llm', 0).toString('hex')).toBe(topics[0]);
  });

  test('workers spread evenly over the shards, and one shard is always 0', () => {
    const counts = new Array<number>(16).fill(0);
    for (let worker = 0; worker < 16_000; worker += 1) {
      const key = topicOf(KEY, `worker-${worker}`, 0);
      expect(shardOf(key, 1)).toBe(0);
      const shard = shardOf(key, 16);
      counts[shard] = (counts[shard] ?? 0) + 1;
    }
    expectNamed(Math.min(...counts), `${counts}`).toBeGreaterThan(850);
    expectNamed(Math.max(...counts), `${counts}`).toBeLessThan(1_150);
  });

  test('each shard comes once in a shuffled order, and each can come first', () => {
    const firsts = new Set<number>();
    for (let draw = 0; draw < 200; draw += 1) {
      const order = shuffledShards(8, Math.random);
      expect([...order].sort()).toStrictEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      firsts.add(order[0] ?? -1);
    }
    expect(firsts.size).toBe(8);
  });
});
