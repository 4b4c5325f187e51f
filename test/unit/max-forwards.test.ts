/** How the hops of OPTIONS and TRACE are counted, and what the last one sends back. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { hopsOf, withOneHopLess } from '../../sidecar/core/forwarding/max-forwards.ts';
import { parseRequestHead } from '../../sidecar/core/http/http1-request-head.ts';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import { finalRecipient } from '../../sidecar/proxy/final-recipient.ts';

test('OPTIONS and TRACE are counted, other methods carry the field unread', () => {
  for (const method of ['OPTIONS', 'TRACE']) {
    assert.deepEqual(hopsOf(method, ['max-forwards', '7']), { kind: 'left', count: 7 });
    assert.deepEqual(hopsOf(method, ['X', '1']), { kind: 'unlimited' });
    assert.deepEqual(withOneHopLess(method, ['A', '1', 'Max-forwards', '7', 'B', '2']), [
      ...['A', '1', 'Max-forwards', '6', 'B', '2'],
    ]);
  }
  for (const method of ['GET', 'options', 'POST']) {
    assert.deepEqual(hopsOf(method, ['Max-Forwards', '0']), { kind: 'unlimited' });
    const fields = ['Max-Forwards', '7'];
    assert.equal(withOneHopLess(method, fields), fields);
  }
});

test('none is invented, leading zeros count, a huge one is sent on as our largest', () => {
  const fields = ['A', '1'];
  assert.equal(withOneHopLess('OPTIONS', fields), fields);
  assert.deepEqual(withOneHopLess('OPTIONS', ['Max-Forwards', '0010']), ['Max-Forwards', '9']);
  assert.deepEqual(withOneHopLess('TRACE', ['Max-Forwards', '9'.repeat(400)]), ['Max-Forwards', '999999998']);
});

test('what is not one number is no number', () => {
  for (const value of ['', '-1', '+1', '1.0', '1, 1', '0x1', 'many', '1 2'])
    assert.deepEqual(hopsOf('OPTIONS', ['Max-Forwards', value]), { kind: 'bad' }, value);
  assert.deepEqual(hopsOf('OPTIONS', ['Max-Forwards', '1', 'max-forwards', '1']), { kind: 'bad' });
});

function head(text: string): RequestHead {
  const bytes = Buffer.from(text, 'latin1');
  const parsed = parseRequestHead(bytes, 0, bytes.length, {
    maxHeadBytes: 9_999,
    maxFields: 99,
    maxTargetBytes: 999,
  });
  assert.equal(parsed.kind, 'head');
  return (parsed as { head: RequestHead }).head;
}

test('the last recipient of a TRACE sends it back without its secrets', () => {
  const secrets =
    'Authorization: Bearer x\r\nCookie: a=b\r\nProxy-Authorization: y\r\nsidecar-auth: z\r\nX-Api-Key: k\r\n' +
    'X-Auth-Token: t\r\n';
  const verdict = finalRecipient(
    head(`TRACE /a?b HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nX-A: 1\r\n${secrets}X-A: \xe9\r\n\r\n`),
  );
  assert.equal(verdict.kind, 'reply');
  const { reply } = verdict as Extract<typeof verdict, { kind: 'reply' }>;
  assert.deepEqual(reply.fields, ['Content-Type', 'message/http']);
  assert.equal(
    reply.body.toString('latin1'),
    'TRACE /a?b HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nX-A: 1\r\nX-A: \xe9\r\n\r\n',
  );
});

test('a TRACE with content is refused, one that says there is none is not', () => {
  for (const line of ['Content-Length: 1', 'Transfer-Encoding: chunked'])
    assert.equal(finalRecipient(head(`TRACE / HTTP/1.1\r\nHost: h\r\n${line}\r\n\r\n`)).kind, 'refuse');
  assert.equal(
    finalRecipient(head('TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n')).kind,
    'forward',
  );
});
