/**
 * A DNS server on a socket of its own, that answers for the names it is given, says that there are no others, or is
 * silent. As a program: `node name-server.ts ADDRESS PORT NAME=ADDRESS …`, silent for all other names, with a line on
 * stdout for each question.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';

/** `silent`: no answer. `none`: no such name. `failed`: SERVFAIL. Else its addresses. */
export type Zone = 'silent' | 'none' | 'failed' | readonly string[];

export interface Question {
  /** Lower case. */
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'other';
}

const HEAD_BYTES = 12;
const RCODES = { none: 3, failed: 2 } as const;

/** As Docker's. */
const TTL_SECONDS = 600;

export class NameServer {
  readonly questions: Question[] = [];
  readonly zones = new Map<string, Zone>();
  /** For names that have none of their own. */
  others: Zone = 'none';
  onQuestion: (question: Question) => void = () => {};
  /** Asked for the other family of a name that has addresses: silent, as some home routers are. */
  losesOtherFamily = false;
  readonly #socket: Socket = createSocket('udp4');

  static async start(host = '127.0.0.1', port = 0): Promise<NameServer> {
    const server = new NameServer();
    server.#socket.on('message', (message, from) => server.#answer(message, from));
    server.#socket.bind(port, host);
    await once(server.#socket, 'listening');
    return server;
  }

  /** `address:port` */
  get address(): string {
    const { address, port } = this.#socket.address();
    return `${address}:${port}`;
  }

  asked(name: string): number {
    return this.questions.filter((question) => question.name === name).length;
  }

  async stop(): Promise<void> {
    this.#socket.close();
    await once(this.#socket, 'close');
  }

  #answer(message: Buffer, { address, port }: RemoteInfo): void {
    const { question, endByte } = parseQuestion(message);
    this.questions.push(question);
    this.onQuestion(question);
    const zone = this.zones.get(question.name) ?? this.others;
    if (zone === 'silent') return;
    const records = typeof zone === 'string' ? [] : zone.filter((each) => typeOf(each) === question.type);
    if (typeof zone !== 'string' && records.length === 0 && this.losesOtherFamily) return;
    const head = Buffer.from(message.subarray(0, HEAD_BYTES));
    head.writeUInt16BE(0x8180 | (typeof zone === 'string' ? RCODES[zone] : 0), 2);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    const answer = [head, message.subarray(HEAD_BYTES, endByte), ...records.map(record)];
    this.#socket.send(Buffer.concat(answer), port, address);
  }
}

function parseQuestion(message: Buffer): { readonly question: Question; readonly endByte: number } {
  const labels: string[] = [];
  let at = HEAD_BYTES;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = message.readUInt16BE(at + 1);
  const name = labels.join('.').toLowerCase();
  return { question: { name, type: type === 1 ? 'A' : type === 28 ? 'AAAA' : 'other' }, endByte: at + 5 };
}

function typeOf(address: string): Question['type'] {
  return net.isIPv4(address) ? 'A' : 'AAAA';
}

/** With the name of the question, by its place in the message. */
function record(address: string): Buffer {
  const data = bytesOf(address);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(0xc000 | HEAD_BYTES, 0);
  head.writeUInt16BE(net.isIPv4(address) ? 1 : 28, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(TTL_SECONDS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function bytesOf(address: string): Buffer {
  if (net.isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [before = '', after = ''] = address.split('::');
  const groups = (text: string): string[] => text.split(':').filter((group) => group !== '');
  const missing = 8 - groups(before).length - groups(after).length;
  const all = [
    ...groups(before),
    ...Array<string>(address.includes('::') ? missing : 0).fill('0'),
    ...groups(after),
  ];
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

if (process.argv[1] === import.meta.filename) {
  const [host = '', port = '', ...zones] = process.argv.slice(2);
  const server = await NameServer.start(host, Number(port));
  server.others = 'silent';
  for (const [name = '', address = ''] of zones.map((zone) => zone.split('=')))
    server.zones.set(name, [address]);
  server.onQuestion = ({ name, type }) => process.stdout.write(`${type} ${name}\n`);
  process.stdout.write('listening\n');
}
