/**
 * Log: one line per event in both formats, nothing that a stranger can forge, only the allowed names.
 */
import { globSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LOG_FIELDS, type LogFormat, type LogLevel } from '../../sidecar/core/log.ts';
import { createLog } from '../../sidecar/observe/log.ts';
import { toText } from '../../sidecar/observe/log-text.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function create(format: LogFormat, level: LogLevel = 'info') {
  const lines: string[] = [];
  const log = createLog({ level, format, workerId: 'worker-1', sink: { write: (line) => lines.push(line) } });
  return { log, lines };
}

describe('a log line', () => {
  test('json: one object per line with time, level, worker and message', () => {
    const { log, lines } = create('json');
    log.child({ part: 'dht' }).warn({ nodes: 0, hint: 'open UDP' }, 'no DHT node answers');
    log.debug({}, 'not at this level');
    expect(lines).toHaveLength(1);
    const { time, ...entry } = JSON.parse(lines[0] ?? '');
    expect(Date.parse(time)).not.toBeNaN();
    expect(entry).toStrictEqual({
      level: 'warn',
      worker_id: 'worker-1',
      part: 'dht',
      nodes: 0,
      hint: 'open UDP',
      message: 'no DHT node answers',
    });
  });

  test('pretty: a line that people read, with an error and its stack below', () => {
    const { log, lines } = create('pretty');
    log.info({ services: ['a', 'b'], address: '127.0.0.1:8010', hint: 'two words' }, 'listening');
    log.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'failed');
    expect(lines[0] ?? '').toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z INFO {2}listening {2}services=\["a","b"\] address=127\.0\.0\.1:8010 hint="two words"\n$/,
    );
    expect(lines[1] ?? '').toMatch(/ ERROR failed {2}err="outer: inner"\n {4}at /);
  });

  test('pretty: text from strangers cannot start a line or drive a terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (message, value) => {
        const { log, lines } = create('pretty');
        log.warn({ peer: value, err: { message: value, code: value } }, message);
        expect(lines).toHaveLength(1);
        const line = lines[0] ?? '';
        expectNamed(line.indexOf('\n'), 'one line').toBe(line.length - 1);
        expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/);
      }),
    );
  });

  test('a line that is not an object passes as it is', () => {
    for (const line of ['not json\n', '[1]\n', 'null\n', '7\n']) expect(toText(line)).toBe(line);
  });

  test('silent says nothing', () => {
    const { log, lines } = create('json', 'silent');
    log.fatal({}, 'gone');
    expect(lines).toStrictEqual([]);
  });

  test('every field name in the sources is on the list', () => {
    const call = /\blog\??\.(?:trace|debug|info|warn|error|fatal)\(\s*\{([^{}]*)\}/g;
    const seen = new Set<string>();
    for (const file of globSync('sidecar/**/*.ts')) {
      for (const found of readFileSync(file, 'utf8').matchAll(call)) {
        for (const part of (found[1] ?? '').split(',')) {
          const name = /^\s*(\w+)\s*(?::|$)/.exec(part)?.[1];
          if (name === undefined) continue;
          seen.add(name);
          expectNamed(
            Object.hasOwn(LOG_FIELDS, name),
            `${file}: the log field "${name}" is not in LOG_FIELDS`,
          ).toBe(true);
        }
      }
    }
    expectNamed(seen.size, 'the search finds fields').toBeGreaterThan(0);
  });
});
