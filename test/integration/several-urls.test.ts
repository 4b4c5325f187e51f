/** One service of several programs: one queue, and each with its own slots, health and judgement. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { type Member, TestMesh } from '../support/meshes/mesh.ts';
import { eventually } from '../support/runner/eventually.ts';
import { expectNamed } from '../support/runner/expectations.ts';
import { onTestEnd } from '../support/runner/on-test-end.ts';
import type { Answer } from '../support/wire/http-client.ts';

class Program {
  readonly server: http.Server;
  /** Answers of each request, in the order in which they came. */
  readonly waiting: http.ServerResponse[] = [];
  asked = 0;
  atOnce = 0;
  most = 0;
  reply: (response: http.ServerResponse, program: Program) => void = (response) => response.end(this.name);
  readonly name: string;

  constructor(name: string) {
    this.name = name;
    this.server = http.createServer((request, response) => {
      if (request.url === '/health') return void response.end();
      this.asked++;
      this.atOnce++;
      this.most = Math.max(this.most, this.atOnce);
      response.on('close', () => this.atOnce--);
      request.resume();
      request.on('end', () => this.reply(response, this));
    });
  }

  static async start(name: string): Promise<Program> {
    const program = new Program(name);
    await program.listen(0);
    onTestEnd(() => program.kill());
    return program;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  listen(port: number): Promise<void> {
    return new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
  }

  kill(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

type Reply = Program['reply'];

const hold: Reply = (response, program) => void program.waiting.push(response);
const full: Reply = (response) => response.writeHead(429, { 'Retry-After': '30' }).end('full');

interface Figures {
  readonly figures: Readonly<Record<string, { readonly concurrency: number }>>;
}

/** A box with a program for each name, and all of them ready. */
async function box(
  names: readonly string[],
  keys: Readonly<Record<string, unknown>> = {},
): Promise<{ member: Member; programs: Program[] }> {
  const programs = await Promise.all(names.map((name) => Program.start(name)));
  const member = await new TestMesh().start({
    id: 'box',
    services: { llm: { url: programs.map(({ url }) => url), health: { interval: '50ms' }, ...keys } },
  });
  await areReady(member, programs.length);
  return { member, programs };
}

function areReady(member: Member, count: number): Promise<unknown> {
  return eventually(
    'all are ready',
    () => member.log.filter(({ message }) => message === 'the worker is ready').length,
    (ready) => ready === count,
  );
}

function post(member: Member, body = 'hi'): Promise<Answer> {
  return member.call({ method: 'POST', target: '/service/llm/x', body });
}

describe('a service with several URLs', () => {
  test('in the environment is one name several times, and all of them serve in turn', async () => {
    const programs = await Promise.all(['a', 'b', 'c'].map((name) => Program.start(name)));
    const services = programs.map(({ url }, at) => `llm=${url}/base${at}`).join(',');
    const member = await new TestMesh().start({ id: 'box', env: { SIDECAR_SERVICES: services } });
    await areReady(member, 3);
    const bodies: string[] = [];
    for (let each = 0; each < 6; each++) bodies.push((await member.get('llm')).body);
    expect(bodies.slice(0, 3).toSorted()).toStrictEqual(['a', 'b', 'c']);
    expect(bodies.slice(3)).toStrictEqual(bodies.slice(0, 3));
  });

  test('each serves as many at once as its concurrency, and the rest waits in one queue', async () => {
    const { member, programs } = await box(['a', 'b'], { concurrency: 2 });
    for (const program of programs) program.reply = hold;
    const answers = Array.from({ length: 7 }, () => post(member));
    await eventually(
      'four are served',
      () => programs.map(({ asked }) => asked),
      (asked) => asked.join() === '2,2',
    );
    const [a, b] = programs as [Program, Program];
    // All that is still in the queue goes to the one that has slots.
    for (let served = 3; served <= 5; served++) {
      a.waiting.shift()?.end('a');
      await eventually(
        'the next came',
        () => a.asked,
        (asked) => asked === served,
      );
    }
    expectNamed([a.most, b.most], 'at once').toStrictEqual([2, 2]);
    for (const each of [...a.waiting, ...b.waiting]) each.end('done');
    expect((await Promise.all(answers)).map(({ status }) => status)).toStrictEqual(Array(7).fill(200));
  });

  test('one that refuses costs nobody a request, whatever the method, and is left alone meanwhile', async () => {
    const { member, programs } = await box(['a', 'b'], { concurrency: 4 });
    const [a, b] = programs as [Program, Program];
    a.reply = full;
    for (let each = 0; each < 10; each++) {
      const answer = await post(member);
      expect([answer.status, answer.body]).toStrictEqual([200, 'b']);
    }
    expect(a.asked).toBe(1);
    expect(b.asked).toBe(10);
  });

  test.each([401, 404, 500, 503])(
    'one that answers each request with %i at once does not get them all',
    async (status) => {
      const { member, programs } = await box(['a', 'b', 'c'], { concurrency: 2 });
      const [a, b, c] = programs as [Program, Program, Program];
      a.reply = (response) => response.writeHead(status).end('no');
      // Each answers when the next has come, so that both are slower than the one that fails, on any machine.
      for (const each of [b, c])
        each.reply = (response, program) => {
          program.waiting.push(response);
          if (program.waiting.length === 2) program.waiting.shift()?.end(program.name);
        };
      const statuses: number[] = [];
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          while (statuses.length < 120) statuses.push((await post(member)).status);
          for (const each of [b, c]) {
            each.reply = (response, program) => response.end(program.name);
            for (const waiting of each.waiting.splice(0)) waiting.end(each.name);
          }
        }),
      );
      expectNamed(statuses.filter((each) => each !== 200).length, 'that failed').toBeLessThanOrEqual(15);
      expect(a.asked).toBeLessThanOrEqual(15);
      expectNamed([b.most, c.most], 'at once').toStrictEqual([2, 2]);
    },
  );

  test('when all refuse, the app gets the refusal of the worker itself', async () => {
    const { member, programs } = await box(['a', 'b']);
    for (const program of programs) program.reply = full;
    const answer = await post(member);
    expect([answer.status, answer.body, answer.headers['retry-after']]).toStrictEqual([429, 'full', '30']);
    expect(programs.map(({ asked }) => asked)).toStrictEqual([1, 1]);
  });

  test('one that is killed makes it smaller and not down, and comes back', async () => {
    const { member, programs } = await box(['a', 'b'], { concurrency: 1 });
    const [a, b] = programs as [Program, Program];
    const { port } = a;
    a.kill();
    const answers = await Promise.all(Array.from({ length: 12 }, () => post(member)));
    expect(answers.map(({ status, body }) => `${status} ${body}`)).toStrictEqual(Array(12).fill('200 b'));
    expect(b.most).toBe(1);
    await a.listen(port);
    await areReady(member, 3);
    const bodies = [await member.get('llm'), await member.get('llm')].map(({ body }) => body);
    expect(bodies.toSorted()).toStrictEqual(['a', 'b']);
  });

  test('one that breaks off gives a GET to the other, and a POST that may have been done to nobody', async () => {
    const { member, programs } = await box(['a', 'b']);
    const [a] = programs as [Program];
    a.reply = (response) => response.destroy();
    const gets = [await member.get('llm'), await member.get('llm')];
    expect(gets.map(({ body }) => body)).toStrictEqual(['b', 'b']);
    const asked = a.asked;
    const posts = [await post(member), await post(member)].map(({ status }) => status);
    expect(posts.toSorted()).toStrictEqual(a.asked > asked ? [200, 502] : [200, 200]);
  });

  test('one that hangs holds what it has, and the other serves the rest', async () => {
    const { member, programs } = await box(['a', 'b'], { concurrency: 1 });
    const [a, b] = programs as [Program, Program];
    a.reply = hold;
    const first = [post(member), post(member)];
    await eventually(
      'it hangs',
      () => a.waiting.length,
      (count) => count === 1,
    );
    for (let each = 0; each < 5; each++) expect((await post(member)).body).toBe('b');
    expect(b.asked).toBe(6);
    a.waiting[0]?.end('a');
    expect((await Promise.all(first)).map(({ body }) => body).toSorted()).toStrictEqual(['a', 'b']);
  });

  test("a session stays at the one that gave it, and is nobody else's while that one is away", async () => {
    const { member, programs } = await box(['a', 'b', 'c']);
    for (const each of programs)
      each.reply = (response) =>
        response.writeHead(200, { 'Mcp-Session-Id': `of-${each.name}` }).end(each.name);
    const ids: string[] = [];
    for (let each = 0; each < 3; each++) ids.push(String((await post(member)).headers['mcp-session-id']));
    expect(ids.toSorted()).toStrictEqual(['of-a', 'of-b', 'of-c']);
    const inSession = (id: string): Promise<Answer> =>
      member.call({
        method: 'POST',
        target: '/service/llm/x',
        body: 'hi',
        headers: { 'Mcp-Session-Id': id },
      });
    for (const id of [...ids, ...ids]) {
      for (let each = 0; each < 2; each++) expect(`of-${(await inSession(id)).body}`).toBe(id);
    }
    const [a, b, c] = programs as [Program, Program, Program];
    a.kill();
    const others = b.asked + c.asked;
    const answer = await inSession('of-a');
    // As a failed connection, or by its health check if that was first.
    expect([502, 503]).toContain(answer.status);
    expect(b.asked + c.asked).toBe(others);
    expect((await post(member)).status).toBe(200);
  });

  test('redirects that name any of them lead back to where the app called', async () => {
    const { member, programs } = await box(['a', 'b']);
    const [a, b] = programs as [Program, Program];
    for (const each of programs)
      each.reply = (response) =>
        response.writeHead(302, { Location: `${(each === a ? b : a).url}/next` }).end();
    for (let each = 0; each < 2; each++)
      expect((await member.get('llm')).headers.location).toBe('/service/llm/next');
  });

  test('a peer gets the same of it, and sees the sum of its slots', async () => {
    const mesh = new TestMesh();
    const programs = await Promise.all(['a', 'b'].map((name) => Program.start(name)));
    const app = await mesh.join({ id: 'app' });
    await mesh.join({
      id: 'box',
      services: { llm: { url: programs.map(({ url }) => url), concurrency: 3 } },
    });
    const [a, b] = programs as [Program, Program];
    await eventually(
      'the sum of its slots is known',
      async () => {
        const { peers } = JSON.parse((await app.admin('/peers')).body) as { peers: Figures[] };
        return peers[0]?.figures.llm?.concurrency;
      },
      (concurrency) => concurrency === 6,
    );
    a.reply = full;
    for (let each = 0; each < 4; each++) expect((await post(app)).body).toBe('b');
    b.reply = full;
    const answer = await post(app);
    expect([answer.status, answer.body]).toStrictEqual([429, 'full']);
    a.kill();
    b.reply = (response) => response.end('b');
    await eventually(
      'it is served again',
      () => post(app),
      ({ status }) => status === 200,
    );
  });
});
