/** How the hops of OPTIONS and TRACE are counted, and what the last one sends back. */
import { describe, expect, test } from '@jest/globals';
import { countHop, hopsOf } from '../../sidecar/core/forwarding/max-forwards.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import { finalRecipient } from '../../sidecar/proxy/final-recipient.ts';
import { expectNamed } from '../support/runner/expectations.ts';

function withOneHopLess(method: string, fields: readonly string[]): string[] {
  const counted = [...fields];
  countHop(method, counted);
  return counted;
}

describe('Max-Forwards', () => {
  test('OPTIONS and TRACE are counted, other methods carry the field unread', () => {
    for (const method of ['OPTIONS', 'TRACE']) {
      expect(hopsOf(method, ['max-forwards', '7'])).toStrictEqual({ kind: 'left', count: 7 });
      expect(hopsOf(method, ['X', '1'])).toStrictEqual({ kind: 'unlimited' });
      expect(withOneHopLess(method, ['A', '1', 'Max-forwards', '7', 'B', '2'])).toStrictEqual([
        ...['A', '1', 'Max-forwards', '6', 'B', '2'],
      ]);
    }
    for (const method of ['GET', 'options', 'POST']) {
      expect(hopsOf(method, ['Max-Forwards', '0'])).toStrictEqual({ kind: 'unlimited' });
      const fields = ['Max-Forwards', '7'];
      expect(withOneHopLess(method, fields)).toStrictEqual(fields);
    }
  });

  test('none is invented, leading zeros count, a huge one is sent on as our largest', () => {
    const fields = ['A', '1'];
    expect(withOneHopLess('OPTIONS', fields)).toStrictEqual(fields);
    expect(withOneHopLess('OPTIONS', ['Max-Forwards', '0010'])).toStrictEqual(['Max-Forwards', '9']);
    expect(withOneHopLess('TRACE', ['Max-Forwards', '9'.repeat(400)])).toStrictEqual([
      'Max-Forwards',
      '999999998',
    ]);
  });

  test('what is not one number is no number', () => {
    for (const value of ['', '-1', '+1', '1.0', '1, 1', '0x1', 'many', '1 2'])
      expectNamed(hopsOf('OPTIONS', ['Max-Forwards', value]), value).toStrictEqual({ kind: 'bad' });
    expect(hopsOf('OPTIONS', ['Max-Forwards', '1', 'max-forwards', '1'])).toStrictEqual({ kind: 'bad' });
  });

  function head(text: string): RequestHead {
    const bytes = Buffer.from(text, 'latin1');
    const parsed = parseRequestHead(bytes, 0, bytes.length, {
      maxHeadBytes: 9_999,
      maxFields: 99,
      maxTargetBytes: 999,
    });
    expect(parsed.kind).toBe('head');
    return (parsed as { head: RequestHead }).head;
  }

  test('the last recipient of a TRACE sends it back without its secrets', () => {
    const secrets =
      'Authorization: Bearer x\r\nCookie: a=b\r\nProxy-Authorization: y\r\nsidecar-auth: z\r\nX-Api-Key: k\r\n' +
      'X-Auth-Token: t\r\n';
    const verdict = finalRecipient(
      head(`TRACE /a?b HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nX-A: 1\r\n${secrets}X-A: \xe9\r\n\r\n`),
    );
    expect(verdict.kind).toBe('reply');
    const { reply } = verdict as Extract<typeof verdict, { kind: 'reply' }>;
    expect(reply.fields).toStrictEqual(['Content-Type', 'message/http']);
    expect(reply.body.toString('latin1')).toBe(
      'TRACE /a?b HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nX-A: 1\r\nX-A: \xe9\r\n\r\n',
    );
  });

  test('a TRACE with content is refused, one that says there is none is not', () => {
    for (const line of ['Content-Length: 1', 'Transfer-Encoding: chunked'])
      expect(finalRecipient(head(`TRACE / HTTP/1.1\r\nHost: h\r\n${line}\r\n\r\n`)).kind).toBe('refuse');
    expect(finalRecipient(head('TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n')).kind).toBe(
      'forward',
    );
  });
});
