/**
 * A member that means harm: what it answers is signed and believed, and still no request of others hangs or is lost.
 *
 * Each test ends with a look at both sidecars: nothing in progress, and serving.
 */
import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { type Asked, HostilePeer, IDLE_FIGURES } from '../support/meshes/hostile-peer.ts';
import { HostileStage } from '../support/meshes/hostile-stage.ts';
import { within } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { open } from '../support/wire/http-client.ts';

const GIGABYTE = 1_000_000_000;
const PIECE = Buffer.alloc(65_536, 0x20);

/** Byte by byte, as long as somebody listens. */
function trickle({ socket }: Asked): void {
  const timer = setInterval(() => socket.write('x'), 20);
  socket.on('close', () => clearInterval(timer));
}

/** Piece after piece, as fast as it is taken. */
function pour(asked: Asked, piece: string | Buffer): void {
  const { socket } = asked;
  if (socket.destroyed) return;
  if (socket.write(piece)) setImmediate(() => pour(asked, piece));
  else socket.once('drain', () => pour(asked, piece));
}

const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`;

describe('a member that answers to do harm', () => {
  test('records: too long, too slow, garbage, of another, from the end of time', async () => {
    const stage = await HostileStage.set();
    const { hostile: other } = stage;
    const latest = { epoch: 8.64e15, seq: Number.MAX_SAFE_INTEGER, load: 1 };
    const most = { in_flight: 1_000_000, concurrency: 1_000_000, queued: 1_000_000, service_ms: 1e9 };
    const cases: readonly [string, string, (asked: Asked, self: HostilePeer) => void][] = [
      [
        'a-gigabyte',
        'unreachable',
        (asked) => {
          asked.socket.write(asked.head(200, [`Content-Length: ${GIGABYTE}`]));
          pour(asked, PIECE);
        },
      ],
      [
        'a-trickle',
        'unreachable',
        (asked) => {
          asked.socket.write(asked.head(200, ['Content-Length: 9000']));
          trickle(asked);
        },
      ],
      ['garbage', 'bad_record', (asked) => asked.answer(200, randomBytes(9000))],
      ['of-another', 'wrong_worker', (asked) => asked.answer(200, other.record())],
      ['in-ten-years', 'bad_record', (asked, self) => asked.answer(200, self.record({ last_seen: 2e9 }))],
      [
        'extremes',
        'ok',
        (asked, self) => asked.answer(200, self.record({ ...latest, figures: { ocr: most } })),
      ],
    ];
    await Promise.all(
      cases.map(async ([id, outcome, answer]) => {
        const one = await HostilePeer.start({ id, meshKey: stage.mesh.meshKey, services: ['ocr'] });
        one.onRecord = (asked) => answer(asked, one);
        await one.introduce(stage.toApp);
        const met = await eventually(
          `${id} was met`,
          () =>
            stage.app.log.find(
              ({ message, peer }) => /newcomer/.test(message) && peer === one.identity.keyHex,
            ),
          (line) => line !== undefined,
        );
        expectNamed(met?.outcome, id).toBe(outcome);
        await eventually(
          `nobody listens to ${id}`,
          () => one.connections,
          (open) => open <= 1,
        );
      }),
    );
    await stage.isSound();
  });

  test('states: too long, too deep, of other types, without bounds', async () => {
    const stage = await HostileStage.set({
      env: { SIDECAR_PROBE_FEW_INTERVAL: '200ms', SIDECAR_PROBE_MANY_INTERVAL: '200ms' },
    });
    let epoch = Date.now();
    const figures = (changes: object): object => ({
      load: 0,
      ...IDLE_FIGURES,
      mine: 0,
      sharers: 1,
      oldest_ms: 0,
      ...changes,
    });
    const cases: readonly ((asked: Asked, self: HostilePeer) => void)[] = [
      (asked) => {
        asked.socket.write(asked.head(200, [`Content-Length: ${GIGABYTE}`]));
        pour(asked, PIECE);
      },
      (asked) => asked.answer(200, nested(30_000)),
      (asked, self) =>
        asked.answer(
          200,
          `{"services":${'{"ocr":'.repeat(5_000)}1${'}'.repeat(5_000)},"epoch":${self.epoch}}`,
        ),
      (asked) => asked.answer(200, '[null]'),
      (asked, self) => asked.answer(200, JSON.stringify(self.state({ services: { ocr: null } }))),
      (asked, self) => asked.answer(200, JSON.stringify(self.state({ services: [figures({})] }))),
      (asked, self) =>
        asked.answer(
          200,
          JSON.stringify(self.state({ services: { ocr: figures({ load: -1, in_flight: -5 }) } })),
        ),
      (asked, self) =>
        asked.answer(
          200,
          JSON.stringify(self.state({ services: { ocr: figures({ service_ms: 7 }) } })).replace(
            ':7',
            ':1e308',
          ),
        ),
      (asked, self) =>
        asked.answer(200, JSON.stringify(self.state()).replace(/"concurrency":\d+/, '"concurrency":NaN')),
      (asked, self) =>
        asked.answer(
          200,
          JSON.stringify(self.state({ services: { 'never-heard-of': figures({}), __proto__: figures({}) } })),
        ),
      (asked, self) => {
        epoch += epoch % 2 === 0 ? 1_000_001 : -1_000_003;
        asked.answer(200, JSON.stringify(self.state({ epoch, seq: 0 })));
      },
      (asked, self) =>
        asked.answer(200, JSON.stringify(self.state({ state: 'Ready', reason: '\u001b[2J'.repeat(1_000) }))),
    ];
    const times = await Promise.all(
      cases.map(async (answer, n) => {
        const one = await HostilePeer.start({
          id: `state-${n}`,
          meshKey: stage.mesh.meshKey,
          services: ['ocr'],
        });
        const seen = { count: 0 };
        one.onState = (asked) => {
          seen.count += 1;
          answer(asked, one);
        };
        await one.introduce(stage.toApp);
        return seen;
      }),
    );
    // Each request keeps the service in use, so that all are asked.
    await eventually(
      'each was asked twice',
      async () => {
        await stage.app.get('ocr');
        return times.map(({ count }) => count);
      },
      (counts) => counts.every((count) => count >= 2),
    );
    expect((await stage.app.admin('/peers')).status).toBe(200);
    expect((await stage.app.admin('/peers')).body).not.toContain('never-heard-of');
    await stage.isSound();
  });

  test('answers that never end: each request ends, and says at whom', async () => {
    const stage = await HostileStage.set({ services: ['ocr', 'own'] });
    const { app, hostile } = stage;
    const endless: readonly [string, number, (asked: Asked) => void][] = [
      ['a head', 502, (asked) => pour(asked, `HTTP/1.1 200 OK\r\n${'X-More: and more\r\n'.repeat(1_000)}`)],
      [
        'a head by bytes',
        504,
        (asked) => {
          asked.socket.write('HTTP/1.1 200 OK\r\nX-More: ');
          trickle(asked);
        },
      ],
      ['interim responses', 502, (asked) => pour(asked, 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n')],
      ['a silence', 504, () => {}],
    ];
    for (const [what, status, answer] of endless) {
      hostile.onRequest = answer;
      const seen = await app.get('own');
      expectNamed(seen.status, `${what}: ${seen.body}`).toBe(status);
      expectNamed(seen.body, what).toMatch(/hostile/);
    }
    hostile.onRequest = (asked) => {
      asked.socket.write(asked.head(200, ['Content-Length: 1000000']));
      trickle(asked);
    };
    const stream = await open(app.running.outbound, { target: '/service/own/' });
    expect(stream.statusCode).toBe(200);
    const { socket } = hostile.asked.at(-1) as Asked;
    stream.destroy();
    hostile.onRequest = (asked) => asked.answer(200, 'enough');
    await eventually(
      'the endless body is read no more',
      () => socket.destroyed,
      (isSo) => isSo,
    );
    await stage.isSound();
  });

  test('a refusal whose body never ends holds no request', async () => {
    const stage = await HostileStage.set();
    stage.hostile.onRequest = (asked) => {
      asked.socket.write(
        asked.head(503, ['sidecar-refusal: saturated;not_sent;full', 'Content-Length: 60000']),
      );
      trickle(asked);
    };
    const answer = await within(stage.drawn(), () => 'a response of anybody', 10_000);
    expect(answer.status).toBe(200);
    expect(answer.headers['sidecar-worker']).toBe('honest');
    await stage.isSound();
  });
});
