/** Which worker has which session: what answers teach, what ends one, and what a peer is told of it. */
import { once } from 'node:events';
import { describe, expect, jest, test } from '@jest/globals';
import type { RawFields } from '../../sidecar/core/http/message.ts';
import { NO_SESSIONS, type SessionCarriers } from '../../sidecar/core/http/session-carrier.ts';
import type { Peer } from '../../sidecar/core/peers/peer.ts';
import { SessionSearch } from '../../sidecar/proxy/outbound/session-search.ts';
import {
  parseSessionPath,
  sessionKey,
  sessionPath,
  sessionProof,
} from '../../sidecar/proxy/peer/session-proof.ts';
import { Sessions } from '../../sidecar/proxy/peer/sessions.ts';
import { figures, peerOf, recordOf, SERVICE, tableOf } from '../support/meshes/peers.ts';

const MCP = 'mcp-session-id';
/** URL of the worker here that answers. */
const PLACE = 'http://127.0.0.1:9000';
const PLAIN: RawFields = ['Accept', '*/*'];

function sessionsOf(said: Readonly<Record<string, SessionCarriers>> = {}): Sessions {
  return new Sessions({ key: 'a'.repeat(64), workerId: 'own' }, new Map(Object.entries(said)));
}

/** `worker-<n>`; what it says carries its sessions, if it says that. */
function peer(n: number, session?: string): Peer {
  const said = session === undefined ? {} : { session };
  return peerOf(tableOf([recordOf(n, { figures: figures(said) })]), n);
}

function post(fields: RawFields = PLAIN): { readonly method: string; readonly fields: RawFields } {
  return { method: 'POST', fields };
}

function ownerOf(sessions: Sessions, id: string): string | null {
  return sessions.find(sessionKey(SERVICE, id))?.workerId ?? null;
}

describe('sessions that workers give', () => {
  test('an id is learnt from the answer, and belongs to who gave it', () => {
    const sessions = sessionsOf();
    const [first, second] = [peer(1), peer(2)];
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: ['Mcp-Session-Id', 'mine'] }, PLACE);
    sessions.answeredBy(first, SERVICE, post(), { status: 200, fields: [MCP, 'one'] });
    sessions.answeredBy(second, SERVICE, post(), { status: 101, fields: [MCP, 'two'] });
    expect(['mine', 'one', 'two', 'other'].map((id) => ownerOf(sessions, id))).toStrictEqual([
      'own',
      'worker-1',
      'worker-2',
      null,
    ]);
    // Of another service the same id is another session.
    expect(sessions.find(sessionKey('other', 'one'))).toBe(null);
  });

  test('of several instances here it is at the one that gave it, until another serves it', () => {
    const sessions = sessionsOf();
    const [first, second] = ['http://127.0.0.1:9001', 'http://127.0.0.1:9002'];
    const mine: RawFields = [MCP, 'mine'];
    expect(sessions.placeOf(SERVICE, mine)).toBe(null);
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: mine }, first);
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: mine }, second);
    expect(sessions.placeOf(SERVICE, mine)).toBe(first);
    sessions.answeredHere(SERVICE, post(mine), { status: 200, fields: mine }, second);
    expect(sessions.placeOf(SERVICE, mine)).toBe(second);
    expect(sessions.placeOf('other', mine)).toBe(null);
  });

  test('who names the session of another one in passing does not get it; who serves it does', () => {
    const sessions = sessionsOf();
    const [first, second] = [peer(1), peer(2)];
    sessions.answeredBy(first, SERVICE, post(), { status: 200, fields: [MCP, 'one'] });
    sessions.answeredBy(second, SERVICE, post(), { status: 200, fields: [MCP, 'one'] });
    expect(ownerOf(sessions, 'one')).toBe('worker-1');
    sessions.answeredBy(second, SERVICE, post([MCP, 'one']), { status: 200, fields: [MCP, 'one'] });
    expect(ownerOf(sessions, 'one')).toBe('worker-2');
  });

  test.each([400, 404, 500, 503])(
    'a fault (%i) that echoes the field gives no session; its cookie does',
    (status) => {
      const sessions = sessionsOf({
        [SERVICE]: [
          { kind: 'header', name: MCP },
          { kind: 'cookie', name: 'sid' },
        ],
      });
      const fields: RawFields = [MCP, 'echo', 'Set-Cookie', 'sid=baked; Path=/; HttpOnly'];
      sessions.answeredHere(SERVICE, post([MCP, 'echo']), { status, fields }, PLACE);
      expect(sessions.isOfOwn(SERVICE, [MCP, 'echo'])).toBe(false);
      expect(sessions.isOfOwn(SERVICE, ['cookie', 'a=b; sid=baked'])).toBe(true);
    },
  );

  test.each([
    { said: 'the client ends it', method: 'DELETE', status: 200, ends: true },
    { said: 'the client ends it, without content', method: 'DELETE', status: 204, ends: true },
    { said: 'the worker lets nobody end it', method: 'DELETE', status: 405, ends: false },
    { said: 'the worker does not know it', method: 'POST', status: 404, ends: true },
    { said: 'the worker has a fault', method: 'POST', status: 500, ends: false },
    { said: 'the worker is busy', method: 'GET', status: 429, ends: false },
  ])('$said ($method, $status): over: $ends', ({ method, status, ends }) => {
    const sessions = sessionsOf();
    const [first, second] = [peer(1), peer(2)];
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: [MCP, 'mine'] }, PLACE);
    sessions.answeredBy(first, SERVICE, post(), { status: 200, fields: [MCP, 'one'] });
    sessions.answeredHere(SERVICE, { method, fields: [MCP, 'mine'] }, { status, fields: [] }, PLACE);
    // Of another worker's session it says nothing.
    sessions.answeredBy(second, SERVICE, { method, fields: [MCP, 'one'] }, { status, fields: [] });
    expect([ownerOf(sessions, 'mine'), ownerOf(sessions, 'one')]).toStrictEqual([
      ends ? null : 'own',
      'worker-1',
    ]);
    sessions.answeredBy(first, SERVICE, { method, fields: [MCP, 'one'] }, { status, fields: [] });
    expect(ownerOf(sessions, 'one')).toBe(ends ? null : 'worker-1');
  });

  test('a page that is not there ends no session of a cookie or of another field', () => {
    const sessions = sessionsOf({
      [SERVICE]: [
        { kind: 'header', name: 'x-session' },
        { kind: 'cookie', name: 'sid' },
      ],
    });
    sessions.answeredHere(
      SERVICE,
      post(),
      {
        status: 200,
        fields: ['X-Session', 'one', 'Set-Cookie', 'sid=two'],
      },
      PLACE,
    );
    const asked = { method: 'GET', fields: ['x-session', 'one', 'Cookie', 'sid=two'] };
    sessions.answeredHere(SERVICE, asked, { status: 404, fields: [] }, PLACE);
    expect(sessions.isOfOwn(SERVICE, ['x-session', 'one'])).toBe(true);
    expect(sessions.isOfOwn(SERVICE, ['cookie', 'sid=two'])).toBe(true);
  });

  test('a service without sessions teaches none', () => {
    const sessions = sessionsOf({ [SERVICE]: NO_SESSIONS });
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: [MCP, 'one'] }, PLACE);
    expect(ownerOf(sessions, 'one')).toBe(null);
    expect(sessions.idsIn(SERVICE, [], [MCP, 'one'])).toStrictEqual([]);
  });

  test('what carries them the workers say, each for itself, unless it is configured', () => {
    const baker = peer(1, 'cookie=sid');
    const peers: readonly Peer[] = [baker, peer(2)];
    const fields: RawFields = [MCP, 'one', 'cookie', 'sid=two', 'x-other', 'three'];
    expect(sessionsOf().idsIn(SERVICE, peers, fields)).toStrictEqual(['two', 'one']);
    const told = sessionsOf({ [SERVICE]: [{ kind: 'header', name: 'x-other' }] });
    expect(told.idsIn(SERVICE, peers, fields)).toStrictEqual(['three']);
  });

  test('a worker that gives ids without end takes so much room and no more, and drives out none of the own worker', () => {
    const sessions = sessionsOf();
    const generous = peer(1);
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: [MCP, 'mine'] }, PLACE);
    for (let n = 0; n < 40_000; n += 1)
      sessions.answeredBy(generous, SERVICE, post(), { status: 200, fields: [MCP, `id-${n}`] });
    expect([
      ownerOf(sessions, 'mine'),
      ownerOf(sessions, 'id-0'),
      ownerOf(sessions, 'id-39999'),
    ]).toStrictEqual(['own', null, 'worker-1']);
  });
});

describe('the search for the worker of a session', () => {
  test('is over in its time where those that are known are silent, however slow the DHT is', async () => {
    const limit = new AbortController();
    jest.spyOn(AbortSignal, 'timeout').mockReturnValueOnce(limit.signal);
    const asked: string[] = [];
    const search = new SessionSearch({
      client: {
        get: ({ peerKey, signal }) => {
          asked.push(peerKey);
          return once(signal, 'abort').then(() => Promise.reject(signal.reason));
        },
      },
      directory: { search: () => new Promise(() => {}), peek: () => [] },
      sessions: { found: () => {} },
    });
    const silent = peer(1);
    const owner = search.ownerOf(SERVICE, [sessionKey(SERVICE, 'one')], [silent]);
    limit.abort(new Error('late'));
    expect([await owner, asked]).toStrictEqual([null, [silent.key]]);
  });
});

describe('what a peer is told of a session', () => {
  test('only who knows the id and has the session can prove it, and for its own key alone', () => {
    const sessions = sessionsOf();
    sessions.answeredHere(SERVICE, post(), { status: 200, fields: [MCP, 'mine'] }, PLACE);
    sessions.answeredBy(peer(1), SERVICE, post(), { status: 200, fields: [MCP, 'one'] });
    const { handle, secret } = sessionKey(SERVICE, 'mine');
    expect(sessions.proofOf(handle)).toBe(sessionProof(secret, sessions.own.key));
    expect(sessions.proofOf(handle)).not.toBe(sessionProof(secret, 'b'.repeat(64)));
    expect(handle).not.toBe(secret);
    // What others have is theirs to say.
    expect(sessions.proofOf(sessionKey(SERVICE, 'one').handle)).toBe(null);
    expect(sessions.proofOf(sessionKey(SERVICE, 'nobody').handle)).toBe(null);
  });

  test('a path says of which service, and which; what is longer, shorter or spelt otherwise is none', () => {
    const { handle } = sessionKey(SERVICE, 'mine');
    expect(parseSessionPath(sessionPath(SERVICE, handle))).toStrictEqual({ service: SERVICE, handle });
    for (const path of [
      '/session/',
      `/session/${SERVICE}`,
      `/session/${SERVICE}/${handle}x`,
      `/session//${handle}`,
    ])
      expect(parseSessionPath(path)).toBe(null);
    expect(parseSessionPath(`/session/${SERVICE}/${handle}?a`)).toBe(null);
    expect(parseSessionPath(`/session/a/b/${handle}`)).toBe(null);
  });
});
