/**
 * Status page: one self-contained page that shows /stats, /readyz and /peers, and asks again each 2 s.
 *
 * A string in the program rather than a file beside it, so that nothing has to be found or copied at run time. All that
 * comes from peers is put in as text, never as markup, and the policy lets only this very script run.
 */
import { createHash } from 'node:crypto';

const STYLE = `
:root{color-scheme:light dark;--line:color-mix(in srgb,CanvasText 18%,transparent)}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}
h1{font-size:1.25rem;margin:.3rem 0}h2{font-size:1rem;margin:1.4rem 0 .4rem}
.bar{padding:.5rem .8rem;border-radius:.4rem;border:1px solid var(--line);border-left:.4rem solid #888}
.bar.good{border-left-color:#2a9d4a}.bar.bad{border-left-color:#d03b3b}
.bar p{margin:.25rem 0}.hint{opacity:.8}
dl{display:grid;grid-template-columns:repeat(4,1fr);gap:.5rem;margin:0}
@media(max-width:40rem){dl{grid-template-columns:repeat(2,1fr)}}
dl div{border:1px solid var(--line);border-radius:.4rem;padding:.4rem .6rem}
dt{font-size:.8rem;opacity:.75}dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
.n{font-variant-numeric:tabular-nums;text-align:right;white-space:nowrap}.load{white-space:nowrap}meter{width:5rem}
.off{color:#d03b3b;font-weight:600}
`;

const SCRIPT = `
const $ = (id) => document.getElementById(id);
const el = (tag, text, cls) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e; };
const get = async (path) => { const r = await fetch(path, { cache: 'no-store' }); return r.json(); };
const age = (s) => s === null || s === undefined ? 'never' : s < 120 ? s.toFixed(1) + ' s' : Math.round(s / 60) + ' min';
function showReady(ready) {
  const bar = $('ready');
  bar.className = 'bar ' + (ready.ready ? 'good' : 'bad');
  bar.replaceChildren(el('p', (ready.ready ? 'Ready' : 'Not ready') + ': ' + ready.peers_known + ' peers known, '
    + ready.peers_usable + ' usable; DHT ' + ready.dht.status + ', ' + ready.dht.nodes + ' nodes'));
  for (const reason of ready.reasons) { bar.append(el('p', reason.detail)); bar.append(el('p', reason.hint, 'hint')); }
}
function showStats(stats) {
  $('stats').replaceChildren(...Object.entries(stats).map(([key, value]) => {
    const box = el('div'); const shown = key === 'cache_hit_rate' ? (100 * value).toFixed(1) + ' %' : String(value);
    box.append(el('dt', key.replaceAll('_', ' ').replace('dht', 'DHT')), el('dd', shown)); return box; }));
}
function showPeers(peers) {
  $('none').hidden = peers.length > 0;
  $('peers').hidden = peers.length === 0;
  $('rows').replaceChildren(...peers.slice(0, 500).map((peer) => {
    const row = el('tr'); const load = el('td', '', 'load'); const meter = document.createElement('meter');
    meter.max = 1; meter.low = 0.7; meter.high = 0.9; meter.optimum = 0; meter.value = peer.load; meter.title = String(peer.load); load.append(meter, ' ' + Number(peer.load).toFixed(2));
    row.append(el('td', peer.worker_id), el('td', peer.state, peer.state === 'ready' ? '' : 'off'), load, el('td', peer.services.join(', ')),
      el('td', peer.routes.map((route) => route.kind + ' ' + route.state).join(', ')), el('td', age(peer.age_s), 'n'));
    return row; }));
}
async function refresh() {
  try {
    const [live, ready, stats, peers] = await Promise.all([get('/livez'), get('/readyz'), get('/stats'), get('/peers')]);
    document.title = live.worker_id + ' · sidecar'; $('name').textContent = live.worker_id;
    $('about').textContent = 'dht-sidecar ' + live.version + ', up ' + age(live.uptime_s);
    showReady(ready); showStats(stats); showPeers(peers.peers);
  } catch { $('ready').className = 'bar bad'; $('ready').replaceChildren(el('p', 'The sidecar does not answer.')); }
  setTimeout(refresh, 2000);
}
refresh();
`;

export const STATUS_PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>sidecar</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><h1 id="name">sidecar</h1><p id="about"></p>
<div id="ready" class="bar" role="status"><p>Asking…</p></div>
<h2>Requests</h2><dl id="stats"></dl>
<h2>Peers</h2><p id="none" hidden>No peers are known.</p>
<div class="wide"><table id="peers" hidden><thead><tr><th>worker</th><th>state</th><th>load</th><th>services</th>
<th>routes</th><th class="n">heard</th></tr></thead><tbody id="rows"></tbody></table></div>
<h2>More</h2><p><a href="/metrics">metrics</a> · <a href="/peers">peers</a> · <a href="/stats">stats</a> ·
<a href="/readyz">readyz</a> · <a href="/targets">targets</a> · explain: <code>/explain?service=NAME</code></p>
<noscript>This page needs JavaScript; the links above do not.</noscript>
<script>${SCRIPT}</script></body></html>
`;

const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

export const STATUS_PAGE_POLICY: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    `script-src ${hash(SCRIPT)}`,
    `style-src ${hash(STYLE)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
};
