/** The same exchanges with a worker directly and through both sidecars: they differ as docs/http.md says, and not else. */
import net from 'node:net';
import { describe, expect, test } from '@jest/globals';
import type { RequestHead } from '../../sidecar/core/http/message.ts';
import {
  ANSWER_DIFFERENCES,
  expectedTrailers,
  type Facts,
  REQUEST_DIFFERENCES,
  type Seen,
  undocumented,
} from '../support/generators/documented-differences.ts';
import {
  answerText,
  type ExchangeCase,
  fixedCases,
  generatedCases,
  isBare,
  requestText,
} from '../support/generators/exchange-cases.ts';
import { pairFor } from '../support/meshes/sidecar-pair.ts';
import { Arrivals } from '../support/runner/arrivals.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import { Wire } from '../support/wire/wire.ts';
import { answer, type Received, type ReceivedAnswer, request } from '../support/wire/wire-messages.ts';
import type { ScriptedOrigin } from '../support/workers/scripted-origin.ts';

const SEED = 20_260_729;
const GENERATED = 400;

interface Observed {
  readonly byWorker: Received<RequestHead>;
  readonly byClient: ReceivedAnswer;
}

/** Answers every request with the present case's bytes, and tells what it was asked. */
class CaseWorker {
  readonly asked = new Arrivals<Received<RequestHead>>('a request at the worker');
  current: ExchangeCase | null = null;
  #isOver = false;
  readonly #origin: ScriptedOrigin;

  constructor(origin: ScriptedOrigin) {
    this.#origin = origin;
    void this.#accept();
  }

  async #accept(): Promise<void> {
    while (!this.#isOver) {
      const wire = await this.#origin.connection().catch(() => null);
      if (wire !== null && !this.#isOver) void this.#serve(wire);
    }
  }

  async #serve(wire: Wire): Promise<void> {
    try {
      for (;;) {
        const asked = await request(wire);
        const each = this.current as ExchangeCase;
        this.asked.push(asked);
        wire.send(answerText(each));
        if (!isBare(each) && each.answer.content.framing === 'close') wire.finish();
      }
    } catch {
      wire.close();
    }
  }

  /** Lets go of the connection it waits for. */
  stop(): void {
    this.#isOver = true;
    const last = net.connect(this.#origin.port, '127.0.0.1', () => last.end('.'));
    last.on('error', () => {});
  }
}

async function observe(
  worker: CaseWorker,
  port: number,
  prefix: string,
  each: ExchangeCase,
): Promise<Observed> {
  worker.current = each;
  const client = await Wire.connect(port);
  try {
    client.send(requestText(each, prefix));
    const [byWorker, byClient] = await Promise.all([worker.asked.next(), answer(client, each.method)]);
    return { byWorker, byClient };
  } finally {
    client.close();
  }
}

/** The response's framing as the worker meant it; none where nothing can follow. */
function framingOf(each: ExchangeCase): Seen['framing'] {
  return isBare(each) ? 'none' : each.answer.content.framing;
}

function compare(each: ExchangeCase, direct: Observed, meshed: Observed, facts: Facts): void {
  const { method, version } = each;
  const asked: Seen = {
    fields: direct.byWorker.head.fields,
    version,
    method,
    status: 0,
    framing: direct.byWorker.head.framing.kind,
  };
  const about = `${each.name}\n${requestText(each, '').slice(0, 600)}\n${answerText(each).slice(0, 600)}`;
  const its = meshed.byWorker;
  expectNamed(its.head.method, about).toBe(method);
  expectNamed(its.head.target, about).toBe(direct.byWorker.head.target);
  expectNamed(its.head.minor, about).toBe(1);
  expectNamed(its.body, about).toBe(direct.byWorker.body);
  expectNamed(its.trailers, about).toStrictEqual(expectedTrailers(direct.byWorker.trailers, asked));
  expectNamed(undocumented(REQUEST_DIFFERENCES, asked, its.head.fields, facts), about).toStrictEqual([]);

  const said = (fields: string[], status: number): Seen => ({
    fields,
    version,
    method,
    status,
    framing: framingOf(each),
  });
  const own = direct.byClient;
  const got = meshed.byClient;
  const answered = said(own.head.fields, own.head.status);
  expectNamed([got.head.status, got.head.reason], about).toStrictEqual([own.head.status, own.head.reason]);
  expectNamed(got.head.minor, about).toBe(1);
  expectNamed(got.body, about).toBe(own.body);
  const trailers = version === '1.0' ? [] : expectedTrailers(own.trailers, answered);
  expectNamed(got.trailers, about).toStrictEqual(trailers);
  expectNamed(undocumented(ANSWER_DIFFERENCES, answered, got.head.fields, facts), about).toStrictEqual([]);

  const interim = version === '1.0' ? [] : own.informational;
  expectNamed(got.informational, about).toHaveLength(interim.length);
  for (const [n, head] of interim.entries()) {
    const its = got.informational[n];
    expectNamed([its?.status, its?.reason], about).toStrictEqual([head.status, head.reason]);
    const seen: Seen = { ...said(head.fields, head.status), framing: 'none' };
    expectNamed(undocumented(ANSWER_DIFFERENCES, seen, its?.fields ?? [], facts), about).toStrictEqual([]);
  }
}

describe('an exchange by the mesh and without it', () => {
  for (const [title, cases] of [
    ['fixed exchanges: the differences are the documented ones', fixedCases()],
    ['generated exchanges: the differences are the documented ones', generatedCases(GENERATED, SEED)],
  ] as const) {
    test(title, async () => {
      const pair = await pairFor();
      const worker = new CaseWorker(pair.b.origin);
      onTestEnd(() => worker.stop());
      expectNamed(cases.length, `${cases.length} cases`).toBeGreaterThanOrEqual(250);
      for (const each of cases) {
        const direct = await observe(worker, pair.b.origin.port, '', each);
        const meshed = await observe(worker, pair.port, '/service/llm-inference', each);
        compare(each, direct, meshed, {
          outbound: 'a-outbound',
          inbound: 'b-inbound',
          workerHost: `127.0.0.1:${pair.b.origin.port}`,
          workerId: 'b',
          workerVersion: each.answer.version,
          host: each.version === '1.1' ? 'app.example:8010' : '',
        });
        await pair.finished.next();
      }
    });
  }

  test('the oracle sees what is lost, changed, added, moved or said twice', () => {
    const facts: Facts = {
      outbound: 'o',
      inbound: 'i',
      workerHost: 'w:1',
      workerId: 'w',
      workerVersion: '1.1',
      host: '',
    };
    const direct: Seen = {
      fields: ['X-A', '1', 'X-B', '2', 'Via', '1.0 v'],
      version: '1.1',
      method: 'GET',
      status: 200,
      framing: 'none',
    };
    const added = ['Via', '1.1 i', 'Via', '1.1 o', 'Date', 'x GMT', 'sidecar-worker', 'w'];
    added.push('sidecar-route', 'vpn', 'sidecar-attempts', '1', 'sidecar-request-id', '0123456789ab-1');
    const faults = (fields: readonly string[]): number =>
      undocumented(ANSWER_DIFFERENCES, direct, fields, facts).length;
    expect(faults([...direct.fields, ...added])).toBe(0);
    for (const fields of [
      ['X-A', '1', 'Via', '1.0 v', ...added],
      ['X-A', '1', 'X-B', '3', 'Via', '1.0 v', ...added],
      ['X-B', '2', 'X-A', '1', 'Via', '1.0 v', ...added],
      ['x-a', '1', 'X-B', '2', 'Via', '1.0 v', ...added],
      [...direct.fields, ...added, 'X-C', '1'],
      [...direct.fields, ...added, 'sidecar-worker', 'w'],
      [...direct.fields, ...added, 'Connection', 'close'],
      [...direct.fields, ...added.slice(2)],
    ])
      expectNamed(faults(fields), fields.join(' ')).toBeGreaterThan(0);
  });
});
