/**
 * http-proxy 1.18 as its documentation sets it up for speed: `node http-proxy-server.mjs PORT TARGET_PORT`.
 *
 * JavaScript, because what strips types would be counted as its memory (17 MB).
 */
import http from 'node:http';
import httpProxy from 'http-proxy';

/** As in nginx and HAProxy: no connection is closed while a bench holds it. */
const KEEP_ALIVE_MS = 300_000;
const MAX_FREE_SOCKETS = 1_024;

const [port, targetPort] = process.argv.slice(2);
const proxy = httpProxy.createProxyServer({
  target: `http://127.0.0.1:${targetPort}`,
  agent: new http.Agent({ keepAlive: true, maxFreeSockets: MAX_FREE_SOCKETS }),
});
proxy.on('error', (_error, _request, response) => {
  if (!response.headersSent) response.writeHead(502, { 'content-length': 0 });
  response.end();
});
http
  .createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => proxy.web(request, response))
  .listen(Number(port), '127.0.0.1');
