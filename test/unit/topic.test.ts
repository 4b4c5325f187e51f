/** Topics and shards. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { shardOf, shuffledShards, topicOf } from '../../sidecar/mesh/dht/topic.ts';

const KEY = Buffer.alloc(32, 1);

test('a topic depends on key, service and shard, and on nothing else', () => {
  const topics = [
    topicOf(KEY, 'llm', 0),
    topicOf(KEY, 'llm', 1),
    topicOf(KEY, 'llm2', 0),
    topicOf(Buffer.alloc(32, 2), 'llm', 0),
  ].map((topic) => topic.toString('hex'));
  assert.equal(new Set(topics).size, 4);
  assert.ok(topics.every((topic) => topic.length === 64));
  assert.equal(topicOf(KEY, 'llm', 0).toString('hex'), topics[0]);
});

test('workers spread evenly over the shards, and one shard is always 0', () => {
  const counts = new Array<number>(16).fill(0);
  for (let worker = 0; worker < 16_000; worker += 1) {
    const key = topicOf(KEY, `worker-${worker}`, 0);
    assert.equal(shardOf(key, 1), 0);
    const shard = shardOf(key, 16);
    counts[shard] = (counts[shard] ?? 0) + 1;
  }
  assert.ok(Math.min(...counts) > 850 && Math.max(...counts) < 1_150, `${counts}`);
});

test('each shard comes once in a shuffled order, and each can come first', () => {
  const firsts = new Set<number>();
  for (let draw = 0; draw < 200; draw += 1) {
    const order = shuffledShards(8, Math.random);
    assert.deepEqual([...order].sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
    firsts.add(order[0] ?? -1);
  }
  assert.equal(firsts.size, 8);
});
