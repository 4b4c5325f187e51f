/**
 * Admin: the operator's listener, and what each of its paths shows. Read only, but for the worker's word of its load,
 * the owner's word that it is paused, and signed lists of revoked keys.
 *
 * node:http rather than the proxy's own parser, since a few requests a minute deserve the dull choice, and a fault in
 * the data plane must not blind the one who looks for it. What is shown comes from handlers that main injects.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { CODES } from '../core/errors.ts';
import type { RawFields, RequestHead } from '../core/http/message.ts';
import {
  corsFields,
  isPreflight,
  type PageVerdict,
  preflightFields,
  type WebPages,
} from '../core/http/web-pages.ts';
import type { Log } from '../core/log.ts';
import { parseRequirements, type Requirement } from '../core/peers/requirements.ts';
import { bindAll } from '../http/sockets/bind.ts';
import { isFromThisHost, isFromWorker, type PutLoad, parsePutLoad, readSmallBody } from './load-put.ts';
import type { StatsJson } from './metrics.ts';
import { type PauseState, parsePause } from './pause-put.ts';
import type { ScrapeTarget } from './peer-view.ts';
import type { Readiness } from './readiness.ts';
import { type ReloadResult, reloadAnswer } from './reload-put.ts';
import { STATUS_PAGE, STATUS_PAGE_POLICY } from './status-page.ts';

/** Of a made-up request for a service. */
export interface ExplainedWishes {
  readonly requirements: readonly Requirement[];
  readonly preferences: readonly Requirement[];
}

/** A thousand keys. */
const MAX_LIST_BYTES = 65_536;

/** The keys that are members no longer; `worker_id` null = whose it was is not known here. */
export interface RevokedJson {
  /** Unix ms; 0 = there is no list. */
  readonly made_ms: number;
  readonly revoked: readonly { readonly public_key: string; readonly worker_id: string | null }[];
}

export interface AdminHandlers {
  stats(): StatsJson;
  metricsText(): Promise<string>;
  readonly metricsType: string;
  /** Every peer as JSON, or those that offer `service`. */
  peers(service: string | null): readonly object[];
  ready(): Readiness;
  /** A dry run of the choice; null when nothing is known of that service. */
  explainService(service: string, wishes: ExplainedWishes): object | null | Promise<object | null>;
  /** One of the last requests; null when it is not among them. */
  explainRequest(id: string): object | null;
  targets(): readonly ScrapeTarget[];
  /** Each service of this worker: its load, from which source, and what each source says. */
  load(): object;
  /** Takes the worker's own word; how long it counts in ms, or null when it offers no such service. */
  putLoad(put: PutLoad): number | null;
  /** Which services of this worker are paused. */
  pauseState(): PauseState;
  /** Pauses one service, or all (null), or brings back; null when it is not offered here. */
  setPaused(service: string | null, isPaused: boolean): PauseState | null;
  /** Reads the configuration anew; null where there is none to be read. */
  reload(): Promise<ReloadResult | null>;
  revoked(): RevokedJson;
  /** Null: the mesh did not sign it. */
  putRevoked(text: string): { readonly revoked: number; readonly is_newer: boolean } | null;
  /** Who this is: shown by /livez and the status page. */
  identity(): { readonly worker_id: string; readonly version: string; readonly uptime_s: number };
}

export interface AdminOptions {
  /** Wanted of who does not call from this host; null: of nobody. */
  readonly token: string | null;
  readonly openMetrics: boolean;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Which web pages may call. */
  readonly webPages: Pick<WebPages, 'judge'>;
  readonly handlers: AdminHandlers;
  readonly log: Pick<Log, 'warn'>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

type Route = (query: URLSearchParams, request: IncomingMessage) => Answer | Promise<Answer>;

/** By method; HEAD is GET without the body. */
type Page = Readonly<Partial<Record<string, Route>>>;

/** Nobody has a reason to be slow here, or to hold many connections. */
const REQUEST_TIMEOUT_MS = 10_000;
const MAX_CONNECTIONS = 128;
const UNKNOWN_REQUEST =
  'Not among the last 1,000 requests of this sidecar since its start: is it the sidecar that the app called, and the ' +
  'field sidecar-request-id of the response?';
/** Longest service name or request id that is looked up. */
const MAX_QUERY_VALUE = 256;

/** For who starts and stops this program: what they tell is no secret. */
const HEALTH_PATHS: readonly string[] = ['/livez', '/readyz'];

const NO_TOKEN: Answer = {
  ...json(401, {
    code: 'not_a_member',
    detail:
      'From other hosts a token is wanted, in Authorization: Bearer (admin.token, SIDECAR_ADMIN_TOKEN).',
  }),
  headers: { 'www-authenticate': 'Bearer' },
};

export class Admin {
  readonly #options: AdminOptions;
  readonly #pages: ReadonlyMap<string, Page>;
  readonly #openPaths: ReadonlySet<string>;
  readonly #server: Server;
  #others: readonly net.Server[] = [];

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#pages = pagesOf(options.handlers);
    this.#openPaths = new Set(options.openMetrics ? [...HEALTH_PATHS, '/metrics'] : HEALTH_PATHS);
    this.#server = createServer(
      { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('clientError', (_error, socket) => {
      if (socket.writable)
        socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
      else socket.destroy();
    });
    // Without a listener for it, node:http answers an Upgrade as any other request: that is right here.
  }

  /** Binds; rejects with the system's error (EADDRINUSE, EACCES, …). The first address, where there are two. */
  async listen(): Promise<{ readonly host: string; readonly port: number }> {
    const servers = await bindAll([this.#options], (index) => (index === 0 ? this.#server : this.#another()));
    for (const server of servers)
      server.on('error', (err) => this.#options.log.warn({ err, part: 'admin' }, 'admin listener failed'));
    this.#others = servers.filter((server) => server !== this.#server);
    const bound = this.#server.address() as AddressInfo;
    return { host: bound.address, port: bound.port };
  }

  /** Takes connections for the same server at another address. */
  #another(): net.Server {
    const server = net.createServer((socket) => this.#server.emit('connection', socket));
    server.maxConnections = MAX_CONNECTIONS;
    return server;
  }

  /** Ends at once: nobody streams from here. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      for (const server of this.#others) server.close();
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => response.destroy());
    let answer: Answer;
    const head = headOf(request);
    const page = this.#options.webPages.judge(head);
    try {
      answer = await this.#answerPage(request, head, page);
    } catch (err) {
      if (response.destroyed) return; // who asked has left
      this.#options.log.warn(
        { err, part: 'admin', path: pathOf(request.url).slice(0, MAX_QUERY_VALUE) },
        'admin request failed',
      );
      answer = json(500, { code: 'internal', detail: 'This page could not be made; the log says why.' });
    }
    const body = Buffer.from(answer.body);
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'content-length': body.byteLength,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...answer.headers,
      ...(page.kind === 'allowed' ? asHeaders(corsFields(page.origin)) : {}),
      // A body that nobody reads would be taken for the next request.
      ...(hasBody(request) ? { connection: 'close' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  #answerPage(request: IncomingMessage, head: PageHead, page: PageVerdict): Answer | Promise<Answer> {
    if (page.kind === 'refused') {
      // A link to the status page may stand anywhere: whose page it is does not see what it shows.
      const isLink = page.code === 'origin_not_allowed' && isLinkToStatusPage(request);
      if (!isLink) return json(CODES[page.code].status, { code: page.code, detail: page.detail });
    }
    if (page.kind === 'allowed' && isPreflight(head))
      return { ...json(200, {}), headers: asHeaders(preflightFields(page.origin, head.fields)) };
    if (!this.#mayAsk(request)) return NO_TOKEN;
    return this.#answer(request);
  }

  #mayAsk({ headers, socket, url }: IncomingMessage): boolean {
    const { token } = this.#options;
    if (token === null || this.#openPaths.has(pathOf(url)) || isFromThisHost({ socket })) return true;
    const [, shown] = /^bearer +([^ ]+)$/i.exec(headers.authorization ?? '') ?? [];
    return shown !== undefined && timingSafeEqual(digest(shown), digest(token));
  }

  #answer(request: IncomingMessage): Answer | Promise<Answer> {
    const path = pathOf(request.url);
    const page = this.#pages.get(path);
    if (page === undefined) {
      return json(404, { code: 'not_found', detail: 'No such page.', pages: [...this.#pages.keys()] });
    }
    const { method = '', url } = request;
    const route = page[method === 'HEAD' ? 'GET' : method];
    if (route !== undefined) return route(queryOf(url), request);
    const allow = Object.keys(page).join(', ').replace('GET', 'GET, HEAD');
    return { ...json(405, { code: 'method_not_allowed', detail: `${allow} only.` }), headers: { allow } };
  }
}

/** Of the same length, so that the time of the comparison tells nothing. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

type PageHead = Pick<RequestHead, 'method' | 'target' | 'host' | 'fields'>;

function headOf({ method = '', url = '/', headers, rawHeaders }: IncomingMessage): PageHead {
  return { method, target: url, host: headers.host ?? '', fields: rawHeaders };
}

function isLinkToStatusPage({ method, url, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    pathOf(url) === '/' &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  );
}

/** For fields that are there once each. */
function asHeaders(fields: RawFields): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i < fields.length; i += 2) headers[fields[i]!.toLowerCase()] = fields[i + 1]!;
  return headers;
}

function pagesOf(handlers: AdminHandlers): ReadonlyMap<string, Page> {
  const status = { type: 'text/html; charset=utf-8', body: STATUS_PAGE, headers: STATUS_PAGE_POLICY };
  const metrics = async (): Promise<Answer> => ({
    status: 200,
    type: handlers.metricsType,
    body: await handlers.metricsText(),
  });
  const resume: Route = (_, request) => putPause(handlers, request, false);
  return new Map<string, Page>([
    ['/', { GET: () => ({ status: 200, ...status }) }],
    ['/metrics', { GET: metrics }],
    ['/livez', { GET: () => json(200, { status: 'alive', ...handlers.identity() }) }],
    ['/readyz', { GET: () => readyz(handlers.ready()) }],
    ['/stats', { GET: () => json(200, handlers.stats()) }],
    ['/peers', { GET: (query) => peersPage(handlers, parameter(query, 'service')) }],
    ['/explain', { GET: (query) => explain(handlers, query) }],
    ['/targets', { GET: () => json(200, handlers.targets()) }],
    ['/load', { GET: () => json(200, handlers.load()), PUT: (_, request) => putLoad(handlers, request) }],
    [
      '/pause',
      {
        GET: () => json(200, handlers.pauseState()),
        PUT: (_, request) => putPause(handlers, request, true),
        DELETE: resume,
      },
    ],
    ['/reload', { PUT: (_, request) => putReload(handlers, request) }],
    ['/resume', { PUT: resume }],
    [
      '/revoked',
      { GET: () => json(200, handlers.revoked()), PUT: (_, request) => putRevoked(handlers, request) },
    ],
  ]);
}

function peersPage(handlers: AdminHandlers, service: string | null): Answer {
  const { revoked } = handlers.revoked();
  return json(200, { peers: handlers.peers(service), ...(revoked.length > 0 ? { revoked } : {}) });
}

function readyz(readiness: Readiness): Answer {
  return json(readiness.ready ? 200 : 503, readiness);
}

async function explain(handlers: AdminHandlers, query: URLSearchParams): Promise<Answer> {
  const service = parameter(query, 'service');
  const request = parameter(query, 'request');
  if ((service === null) === (request === null)) {
    return json(400, { code: 'bad_request', detail: 'Ask for ?service=NAME or ?request=ID, one of them.' });
  }
  const requirements = parseRequirements(query.get('require') ?? '');
  if ('fault' in requirements)
    return json(400, { code: 'bad_request', detail: `require: ${requirements.fault}` });
  const preferences = parseRequirements(query.get('prefer') ?? '');
  if ('fault' in preferences)
    return json(400, { code: 'bad_request', detail: `prefer: ${preferences.fault}` });
  const wishes = { requirements, preferences };
  const found =
    service !== null
      ? await handlers.explainService(service, wishes)
      : handlers.explainRequest(request ?? '');
  if (found !== null) return json(200, found);
  return service !== null
    ? json(404, { code: 'unknown_service', detail: 'Nothing is known of that service.' })
    : json(404, { code: 'unknown_request', detail: UNKNOWN_REQUEST });
}

async function putLoad(handlers: AdminHandlers, request: IncomingMessage): Promise<Answer> {
  if (!isFromWorker(request)) return json(403, { code: 'not_allowed', detail: 'From this host only.' });
  const text = await readSmallBody(request);
  if (text === null) return json(413, { code: 'bad_request', detail: 'The body is too long.' });
  const put = parsePutLoad(text);
  if (typeof put === 'string') return json(400, { code: 'bad_request', detail: put });
  const ttlMs = handlers.putLoad(put);
  if (ttlMs !== null) return json(200, { load: put.loadRatio, counts_for_s: ttlMs / 1000 });
  return json(404, { code: 'unknown_service', detail: 'This worker offers no such service.' });
}

async function putReload(handlers: AdminHandlers, request: IncomingMessage): Promise<Answer> {
  if (!isFromWorker(request)) return json(403, { code: 'not_allowed', detail: 'From this host only.' });
  const { status, body } = reloadAnswer(await handlers.reload());
  return json(status, body);
}

async function putPause(
  handlers: AdminHandlers,
  request: IncomingMessage,
  isPaused: boolean,
): Promise<Answer> {
  if (!isFromWorker(request)) return json(403, { code: 'not_allowed', detail: 'From this host only.' });
  const text = await readSmallBody(request);
  if (text === null) return json(413, { code: 'bad_request', detail: 'The body is too long.' });
  const put = parsePause(queryOf(request.url).get('service'), text);
  if (typeof put === 'string') return json(400, { code: 'bad_request', detail: put });
  const state = handlers.setPaused(put.service, isPaused);
  if (state !== null) return json(200, state);
  return json(404, { code: 'unknown_service', detail: 'This worker offers no such service.' });
}

/** From anywhere: it is signed. */
async function putRevoked(handlers: AdminHandlers, request: IncomingMessage): Promise<Answer> {
  const text = await readSmallBody(request, MAX_LIST_BYTES);
  if (text === null) return json(413, { code: 'bad_request', detail: 'The list is too long.' });
  const taken = handlers.putRevoked(text);
  if (taken !== null) return json(200, taken);
  return json(400, { code: 'bad_request', detail: 'This is no list that the mesh key has signed.' });
}

function json(status: number, value: object): Answer {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(value)}\n` };
}

/** The target up to the query, undecoded: no page here needs decoding, so no decoding can fail. */
function pathOf(target: string | undefined): string {
  return (target ?? '/').split('?', 1)[0] ?? '/';
}

/** Never throws: URLSearchParams takes any text. */
function queryOf(target: string | undefined): URLSearchParams {
  const at = target?.indexOf('?') ?? -1;
  return new URLSearchParams(at < 0 ? '' : target?.slice(at + 1));
}

function parameter(query: URLSearchParams, name: string): string | null {
  const value = query.get(name);
  return value === null || value === '' ? null : value.slice(0, MAX_QUERY_VALUE);
}

function hasBody(request: IncomingMessage): boolean {
  return (
    request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
  );
}
