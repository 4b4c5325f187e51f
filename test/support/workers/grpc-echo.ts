/**
 * A gRPC service without generated code: messages are text, one method of each kind.
 *
 * Real @grpc/grpc-js on both sides, as workers and apps have it.
 */
import {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerOptions,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { Arrivals } from '../runner/arrivals.ts';
import { onTestEnd } from '../runner/on-test-end.ts';

const to = (text: string): Buffer => Buffer.from(text, 'utf8');
const from = (bytes: Buffer): string => bytes.toString('utf8');

function method(name: string, requestStream: boolean, responseStream: boolean) {
  return {
    path: `/test.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: to,
    requestDeserialize: from,
    responseSerialize: to,
    responseDeserialize: from,
  };
}

const ECHO = {
  One: method('One', false, false),
  Count: method('Count', false, true),
  Join: method('Join', true, false),
  Talk: method('Talk', true, true),
  Fail: method('Fail', false, false),
  Hang: method('Hang', false, true),
};

export interface GrpcWorker {
  readonly url: string;
  /** Names of methods whose caller left before their end. */
  readonly cancelled: Arrivals<string>;
  readonly began: Arrivals<string>;
  /** From now on each unary call ends so, before any message; null = it is answered. */
  refuse(refusal: { readonly code: status; readonly details: string } | null): void;
  /** Breaks all connections. */
  crash(): void;
}

export async function startGrpcWorker(options: ServerOptions = {}): Promise<GrpcWorker> {
  const cancelled: Arrivals<string> = new Arrivals('a cancelled call');
  const began: Arrivals<string> = new Arrivals('a call that began');
  const server = new Server({ 'grpc.max_receive_message_length': -1, ...options });
  let refusal: Parameters<GrpcWorker['refuse']>[0] = null;
  server.addService(ECHO, {
    One(call: ServerUnaryCall<string, string>, answer: sendUnaryData<string>): void {
      if (refusal !== null) {
        answer(refusal);
        return;
      }
      const head = new Metadata();
      head.set('x-saw', String(call.metadata.get('x-app')[0]));
      call.sendMetadata(head);
      const end = new Metadata();
      end.set('x-end', 'trailing');
      end.set('x-bin-bin', Buffer.from([0, 255, 1]));
      answer(null, `echo ${call.request}`, end);
    },
    Count(call: ServerWritableStream<string, string>): void {
      for (let n = 0; n < Number(call.request); n++) call.write(`${n}`);
      call.end();
    },
    Join(call: ServerReadableStream<string, string>, answer: sendUnaryData<string>): void {
      let all = '';
      call.on('data', (text: string) => {
        all += text;
      });
      call.on('end', () => answer(null, all));
    },
    Talk(call: ServerDuplexStream<string, string>): void {
      call.on('data', (text: string) => call.write(`re: ${text}`));
      call.on('end', () => call.end());
    },
    Fail(_call: ServerUnaryCall<string, string>, answer: sendUnaryData<string>): void {
      const end = new Metadata();
      end.set('x-why', 'because');
      answer({ code: status.FAILED_PRECONDITION, details: 'nö, 100% not', metadata: end });
    },
    Hang(call: ServerWritableStream<string, string>): void {
      began.push('Hang');
      call.write('hanging');
      call.on('cancelled', () => cancelled.push('Hang'));
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  onTestEnd(() => server.forceShutdown());
  return {
    url: `h2c://127.0.0.1:${port}`,
    cancelled,
    began,
    refuse: (wanted) => {
      refusal = wanted;
    },
    crash: () => server.forceShutdown(),
  };
}

export interface Unary {
  readonly error: ServiceError | null;
  readonly value: string | undefined;
  readonly head: Metadata | null;
  readonly end: Metadata | null;
}

export class GrpcApp {
  readonly #client: Client;

  constructor(port: number, options: ClientOptions) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
      ...options,
    });
    onTestEnd(() => this.#client.close());
  }

  unary(
    name: 'One' | 'Fail',
    request: string,
    fields: Readonly<Record<string, string>> = {},
  ): Promise<Unary> {
    const metadata = new Metadata();
    for (const [field, value] of Object.entries(fields)) metadata.set(field, value);
    return new Promise((resolve) => {
      let head: Metadata | null = null;
      let end: Metadata | null = null;
      let error: ServiceError | null = null;
      let value: string | undefined;
      const call: ClientUnaryCall = this.#client.makeUnaryRequest(
        ECHO[name].path,
        to,
        from,
        request,
        metadata,
        (fault, answer) => {
          error = fault;
          value = answer;
        },
      );
      call.on('metadata', (came: Metadata) => {
        head = came;
      });
      call.on('status', (came) => {
        end = came.metadata;
        setImmediate(() => resolve({ error, value, head, end }));
      });
    });
  }

  serverStream(name: 'Count' | 'Hang', request: string, deadlineMs?: number): ClientReadableStream<string> {
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    return this.#client.makeServerStreamRequest(ECHO[name].path, to, from, request, options);
  }

  clientStream(done: (error: ServiceError | null, value?: string) => void): ClientWritableStream<string> {
    return this.#client.makeClientStreamRequest(ECHO.Join.path, to, from, done);
  }

  bidi(): ClientDuplexStream<string, string> {
    return this.#client.makeBidiStreamRequest(ECHO.Talk.path, to, from);
  }
}
