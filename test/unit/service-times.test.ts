/** Service times of a worker that serves requests of many kinds: what it has most of must not steer what costs most. */
import { describe, expect, test } from '@jest/globals';
import { ServiceTime } from '../../sidecar/core/worker/service-time.ts';
import { requestClass, ServiceTimes } from '../../sidecar/core/worker/service-times.ts';
import { seeded } from '../support/meshes/peers.ts';
import { expectNamed } from '../support/runner/expectations.ts';

const CHEAP = requestClass('GET', '/v1/models');
const DEAR = requestClass('POST', '/v1/chat/completions');

/** After so many of each, in a random order. */
function mixed(counts: { readonly cheap: number; readonly dear: number }, seed = 1): ServiceTimes {
  const times = new ServiceTimes();
  const random = seeded(seed);
  let { cheap, dear } = counts;
  while (cheap + dear > 0) {
    if (random() * (cheap + dear) < cheap) {
      cheap--;
      times.add(CHEAP, 2, 0);
    } else {
      dear--;
      times.add(DEAR, 1_000, 0);
    }
  }
  return times;
}

describe('the service time of a worker', () => {
  test('cheap calls, however many, do not make it quick', () => {
    for (const cheap of [0, 10, 100, 2_000]) {
      const value = mixed({ cheap, dear: 40 }).valueAt(0, false) ?? 0;
      expectNamed(value, `${cheap} cheap ones: ${value} ms`).toBeGreaterThan(850);
    }
    // What counts: two equal workers are equal within the band that the balancer takes for noise.
    const few = mixed({ cheap: 50, dear: 40 }).valueAt(0, false) ?? 0;
    const many = mixed({ cheap: 2_000, dear: 40 }).valueAt(0, false) ?? 0;
    expect(few / many).toBeLessThan(1.35);
  });

  test('a slower worker is told by any of its classes', () => {
    const slow = new ServiceTimes();
    const quick = new ServiceTimes();
    for (let n = 0; n < 50; n++) {
      for (const [times, factor] of [
        [quick, 1],
        [slow, 3],
      ] as const) {
        times.add(CHEAP, 2 * factor, n);
        times.add(DEAR, 1_000 * factor, n);
      }
    }
    expect((slow.valueAt(50, false) ?? 0) / (quick.valueAt(50, false) ?? 1)).toBeCloseTo(3, 5);
  });

  test('of one class it is that of the class, sample by sample', () => {
    const [one, plain] = [new ServiceTimes(), new ServiceTime()];
    const random = seeded(7);
    for (let n = 0; n < 1_000; n++) {
      const ms = 10 * Math.exp(2 * random());
      one.add(DEAR, ms, n * 50);
      plain.add(ms, n * 50);
      expect(one.valueAt(n * 50, false)).toBe(plain.valueAt(n * 50, false));
    }
    expect(one.valueAt(1e9, false)).toBe(null);
  });

  test('it is unknown while most of its time goes to a class of which little is known', () => {
    const times = new ServiceTimes();
    for (let n = 0; n < 10; n++) times.add(CHEAP, 2, 0);
    times.add(DEAR, 1_000, 0);
    expect(times.valueAt(0, false)).toBe(null);
    for (let n = 0; n < 4; n++) times.add(DEAR, 1_000, 0);
    expect(times.valueAt(0, false)).toBeGreaterThan(900);
  });

  test('where each class is new, what all take together is known after twenty', () => {
    const times = new ServiceTimes();
    for (let n = 0; n < 19; n++) {
      times.add(requestClass('GET', `/${'abcdefghijklmnop'[n % 10]}`), 100, 0);
      expectNamed(times.valueAt(0, false), `${n + 1} requests`).toBe(null);
    }
    times.add(requestClass('GET', '/z'), 100, 0);
    expect(times.valueAt(0, false)).toBeCloseTo(100, 6);
  });

  test('paths without end are bounded, and the dear class stays among them', () => {
    const times = new ServiceTimes();
    for (let n = 0; n < 5_000; n++) {
      const word = String.fromCharCode(...Array.from({ length: 6 }, (_, at) => 97 + ((n >> at) % 26)));
      times.add(requestClass('GET', `/pages/${word}`), 2, 0);
      if (n % 10 === 0) times.add(DEAR, 1_000, 0);
    }
    expect(times.valueAt(0, false)).toBeGreaterThan(850);
    expectNamed(times.valueAt(0, true), 'what is not a number says nothing').not.toBeNaN();
    times.add(DEAR, Number.NaN, 0);
    expect(times.valueAt(0, false)).toBeGreaterThan(850);
  });
});

describe('the class of a request', () => {
  test('is its method and path, without query and without the names of things', () => {
    const same: readonly (readonly [string, string])[] = [
      ['/v1/models', '/v1/models?limit=3'],
      ['/jobs/17', '/jobs/18'],
      ['/jobs/0', '/jobs/9'],
      ['/jobs/3f2a-11/log', '/jobs/9c1b-27/log'],
      ['/files/aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8', '/files/xbmNvZGVkIG5hbWUgb2YgYSBmaWxlIHRoYXQgaXM'],
    ];
    for (const [a, b] of same) expectNamed(requestClass('GET', a), `${a} ${b}`).toBe(requestClass('GET', b));
    const all = [
      requestClass('GET', '/v1/models'),
      requestClass('POST', '/v1/models'),
      requestClass('POST', '/v1/chat/completions'),
      requestClass('POST', '/v1/embeddings'),
      requestClass('POST', '/test.Echo/One'),
      requestClass('POST', '/test.Echo/Two'),
      requestClass('GET', '/'),
      requestClass('OPTIONS', '*'),
    ];
    expect(new Set(all).size).toBe(all.length);
  });
});
