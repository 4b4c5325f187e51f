/** A metrics page over a real socket: figures, and every way in which it can fail, told and never idle. */
import { once } from 'node:events';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { DcgmGpuMeter } from '../../sidecar/load/dcgm.ts';
import { MetricsPage, type PageNews } from '../../sidecar/load/metrics-page.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed, fail } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';

/** The URL of a page that answers so. */
async function pageOf(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestEnd(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`;
}

/** What comes of the first question. */
function firstNews(url: string): Promise<PageNews> {
  return new Promise((resolve) => {
    const page = new MetricsPage({ url, names: new Set(['depth']), intervalMs: 60_000, onNews: resolve });
    onTestEnd(() => page.stop());
    page.start();
  });
}

/** One that is asked again as soon as it has answered. */
function askedOften(url: string): { readonly page: MetricsPage; readonly news: Arrivals<PageNews> } {
  const news = new Arrivals<PageNews>('news of a page');
  const onNews = (each: PageNews): void => news.push(each);
  const page = new MetricsPage({ url, names: new Set(['depth']), intervalMs: 1, onNews });
  onTestEnd(() => page.stop());
  page.start();
  return { page, news };
}

async function faultOf(listener: RequestListener): Promise<string> {
  const news = await firstNews(await pageOf(listener));
  return news.kind === 'failed' ? news.fault.message : fail('expected a fault');
}

describe("reading a worker's metrics page", () => {
  test('the wanted samples of the page are told', async () => {
    const url = await pageOf((_request, response) => response.end('other 1\ndepth{q="a"} 3\n'));
    const news = await firstNews(url);
    expect(news.kind === 'samples' && news.samples.map(({ value }) => value)).toStrictEqual([3]);
  });

  test('a page that fails says why', async () => {
    expect(await faultOf((_request, response) => response.writeHead(500).end('depth 1\n'))).toMatch(/500/);
    expect(await faultOf((_request, response) => response.end('other 1\n'))).toMatch(/none of depth/);
    expect(await faultOf((request) => request.socket.destroy())).toMatch(/other side closed/);
  });

  for (const status of [301, 302, 303, 307, 308]) {
    test(`a page that sends elsewhere (${status}) is a fault, and nobody is asked there`, async () => {
      let asked = 0;
      const elsewhere = await pageOf((_request, response) => {
        asked++;
        response.end('depth 1\n');
      });
      const fault = await faultOf((_request, response) =>
        response.writeHead(status, { location: elsewhere }).end('depth 1\n'),
      );
      expect([fault, asked]).toStrictEqual([`status ${status}`, 0]);
    });
  }

  test('a page without end is not read to its end', async () => {
    const fault = await faultOf((_request, response) => {
      const more = Buffer.alloc(1 << 20, 'x'.repeat(99).concat('\n'));
      const send = (): void => {
        while (!response.destroyed && response.write(more));
      };
      response.on('drain', send);
      send();
    });
    expect(fault).toMatch(/larger than/);
  });

  for (const state of ['between two questions', 'while it is being answered'] as const) {
    test(`one that is stopped ${state} asks and tells nothing any more`, async () => {
      const asked = new Arrivals<ServerResponse>('a question');
      const url = await pageOf(({ url: target }, response) => {
        if (target === '/metrics?first') asked.push(response);
        else response.end('depth 1\n');
      });
      const first = askedOften(`${url}?first`);
      (await asked.next()).end('depth 1\n');
      await first.news.next();
      const open = state === 'between two questions' ? null : await asked.next();
      first.page.stop();
      open?.end('depth 1\n');
      const other = askedOften(url);
      for (let n = 0; n < 3; n++) await other.news.next();
      expect([asked.size, first.news.size]).toStrictEqual([0, 0]);
    });
  }

  test('DCGM: the figure while the page is there, a throw when it is not', async () => {
    let isUp = true;
    const url = await pageOf((request, response) => {
      if (isUp) response.end('DCGM_FI_DEV_GPU_UTIL{gpu="0"} 50\n');
      else request.socket.destroy();
    });
    const meter = new DcgmGpuMeter({ url, intervalMs: 5, devices: null });
    onTestEnd(() => meter.stop());
    expectNamed(meter.sample(), 'not asked yet').toBe(null);
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
});
