/** A metrics page over a real socket: figures, and every way in which it can fail, told and never idle. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { DcgmGpuMeter } from '../../sidecar/load/dcgm.ts';
import { MetricsPage, type PageNews } from '../../sidecar/load/metrics-page.ts';
import { eventually } from '../support/eventually.ts';

/** The URL of a page that answers so. */
async function pageOf(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
}

/** What comes of the first question. */
function firstNews(t: TestContext, url: string): Promise<PageNews> {
  return new Promise((resolve) => {
    const page = new MetricsPage({ url, names: new Set(['depth']), intervalMs: 60_000, onNews: resolve });
    t.after(() => page.stop());
    page.start();
  });
}

async function faultOf(t: TestContext, listener: RequestListener): Promise<string> {
  const news = await firstNews(t, await pageOf(t, listener));
  return news.kind === 'failed' ? news.fault.message : assert.fail('expected a fault');
}

test('the wanted samples of the page', async (t) => {
  const url = await pageOf(t, (_request, response) => response.end('other 1\ndepth{q="a"} 3\n'));
  const news = await firstNews(t, url);
  assert.deepEqual(news.kind === 'samples' && news.samples.map(({ value }) => value), [3]);
});

test('a page that fails says why', async (t) => {
  assert.match(await faultOf(t, (_request, response) => response.writeHead(500).end('depth 1\n')), /500/);
  assert.match(await faultOf(t, (_request, response) => response.end('other 1\n')), /none of depth/);
  assert.match(
    await faultOf(t, (_request, response) => response.writeHead(302, { location: '/elsewhere' }).end()),
    /./,
  );
  assert.match(await faultOf(t, (request) => request.socket.destroy()), /./);
});

test('a page without end is not read to its end', async (t) => {
  const fault = await faultOf(t, (_request, response) => {
    const more = Buffer.alloc(1 << 20, 'x'.repeat(99).concat('\n'));
    const send = (): void => {
      while (!response.destroyed && response.write(more));
    };
    response.on('drain', send);
    send();
  });
  assert.match(fault, /larger than/);
});

test('nobody there is a fault, and after stop nothing is told', async (t) => {
  const url = await pageOf(t, (_request, response) => response.end('depth 1\n'));
  const news: PageNews[] = [];
  const page = new MetricsPage({
    url,
    names: new Set(['depth']),
    intervalMs: 1,
    onNews: (n) => news.push(n),
  });
  page.start();
  await eventually(
    'two responses',
    () => news.length,
    (count) => count >= 2,
  );
  page.stop();
  const told = news.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(news.length, told);
});

test('DCGM: the figure while the page is there, a throw when it is not', async (t) => {
  let isUp = true;
  const url = await pageOf(t, (request, response) => {
    if (isUp) response.end('DCGM_FI_DEV_GPU_UTIL{gpu="0"} 50\n');
    else request.socket.destroy();
  });
  const meter = new DcgmGpuMeter({ url, intervalMs: 5, devices: null });
  t.after(() => meter.stop());
  assert.equal(meter.sample(), null, 'not asked yet');
  meter.start();
  await eventually(
    'a figure',
    () => meter.sample(),
    (ratio) => ratio === 0.5,
  );
  isUp = false;
  await eventually(
    'the fault',
    () => {
      try {
        return meter.sample();
      } catch {
        return 'thrown';
      }
    },
    (what) => what === 'thrown',
  );
});
