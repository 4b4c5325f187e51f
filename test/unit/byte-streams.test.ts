/** Two joined streams: an end is passed on after the last byte, a break at once. */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { joinStreams } from '../../sidecar/http/byte-streams.ts';

const NONE = Buffer.alloc(0);

/** A stream whose reader takes a write only when told. */
class Held extends Duplex {
  readonly taken: string[] = [];
  #take: (() => void) | null = null;

  constructor() {
    super({ allowHalfOpen: true });
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: unknown, done: () => void): void {
    this.#take = () => {
      this.taken.push(chunk.toString());
      done();
    };
  }

  get holds(): boolean {
    return this.#take !== null;
  }

  takeOne(): void {
    const take = this.#take;
    this.#take = null;
    take?.();
  }
}

describe('two byte streams joined', () => {
  test('what one side has not taken yet survives the clean end of the other', async () => {
    const [a, b] = [new Held(), new Held()];
    const over = joinStreams({ early: NONE, socket: a }, { early: NONE, socket: b });
    a.push('last words');
    a.push(null);
    b.push(null);
    await once(a, 'close');
    expect(b.destroyed).toBe(false);
    expect(b.holds).toBe(true);
    b.takeOne();
    await over;
    expect(b.taken).toStrictEqual(['last words']);
  });

  test('a break of one side breaks the other at once', async () => {
    const [a, b] = [new Held(), new Held()];
    const over = joinStreams({ early: NONE, socket: a }, { early: NONE, socket: b });
    a.push('never taken');
    while (!b.holds) await new Promise(setImmediate);
    a.destroy(new Error('reset'));
    await over;
    expect(b.destroyed).toBe(true);
  });

  test('a side that was closed before they were joined ends the other', async () => {
    const [a, b] = [new Held(), new Held()];
    a.destroy();
    await once(a, 'close');
    await joinStreams({ early: NONE, socket: a }, { early: Buffer.from('x'), socket: b });
    expect(b.destroyed).toBe(true);
  });

  test('early bytes come first, and a full side pauses the other', async () => {
    const [a, b] = [new Held(), new Held()];
    const over = joinStreams({ early: Buffer.from('first'), socket: a }, { early: NONE, socket: b });
    a.push(Buffer.alloc(100_000));
    await new Promise(setImmediate);
    expect(a.isPaused()).toBe(true);
    b.takeOne();
    expect(b.taken).toStrictEqual(['first']);
    a.destroy();
    await over;
  });
});
