/**
 * The own certificate while the sidecar runs: how long it holds, said before it ends, and a renewed file taken.
 *
 * The file is read again when it has changed; a certificate of another key is gone on with as if the sidecar had been
 * started anew, and what is no good is said and changes nothing.
 */
import { statSync } from 'node:fs';
import type { Log } from '../../core/log.ts';
import type { Certificate } from '../../core/peers/certificate.ts';
import type { CertificateFacts } from '../../observe/readiness.ts';

export interface CertificateWatchOptions {
  /** Null: it is not in a file, or is renewed by this sidecar itself. */
  readonly file: string | null;
  readonly readText: (path: string) => string;
  readonly certificate: () => Certificate;
  /** Whether somebody else makes it. */
  readonly isForeign: boolean;
  /** Goes on with this one. Throws in plain words when it is no good. */
  readonly adopt: (bundle: string) => void;
  readonly log: Pick<Log, 'info' | 'warn' | 'error'>;
  readonly nowMs: () => number;
}

const LOOK_MS = 1_000;
const DAY_MS = 86_400_000;

/** From so many days before its end on it is said, once a day. */
const WARN_DAYS = 7;

export class CertificateWatch {
  readonly #options: CertificateWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #seen: string;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  #wasOver = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#seen = this.#stamp();
    this.#say();
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  facts(): CertificateFacts {
    const { certificate, isForeign, nowMs } = this.#options;
    const endsMs = certificate().notAfter * 1_000;
    const daysLeft = (endsMs - nowMs()) / DAY_MS;
    return { endsMs, daysLeft, isForeign, isSoon: isForeign && daysLeft < WARN_DAYS };
  }

  #look(): void {
    const stamp = this.#stamp();
    if (stamp !== this.#seen) {
      this.#seen = stamp;
      this.#take();
    }
    this.#say();
  }

  #take(): void {
    const { adopt, file, log, readText } = this.#options;
    if (file === null) return;
    try {
      adopt(readText(file));
      this.#saidAtMs = Number.NEGATIVE_INFINITY;
      this.#wasOver = false;
      log.info(
        { part: 'mesh', days_left: rounded(this.facts().daysLeft) },
        'a renewed certificate is in use',
      );
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'it cannot be read';
      log.error(
        { part: 'mesh', reason },
        'the certificate file has changed, and cannot be used: the former one is kept',
      );
    }
  }

  #say(): void {
    const { log, nowMs } = this.#options;
    const { daysLeft, endsMs, isForeign, isSoon } = this.facts();
    if (!isForeign) return;
    const fields = { part: 'mesh', ends: new Date(endsMs).toISOString(), days_left: rounded(daysLeft) };
    const isOver = daysLeft < 0;
    const isDue = nowMs() - this.#saidAtMs >= DAY_MS || isOver !== this.#wasOver;
    if (!isDue) return;
    this.#wasOver = isOver;
    this.#saidAtMs = nowMs();
    const hint = 'make a new one with `dht-sidecar mesh cert` and put it into the file: no restart is needed';
    if (isOver) log.error({ ...fields, hint }, 'the certificate of this worker has ended: peers refuse it');
    else if (isSoon) log.warn({ ...fields, hint }, 'the certificate of this worker ends soon');
    else log.info(fields, 'the certificate of this worker holds');
  }

  /** Changes with the file. */
  #stamp(): string {
    const { file } = this.#options;
    if (file === null) return '';
    try {
      const { ino, mtimeMs, size } = statSync(file);
      return `${ino} ${mtimeMs} ${size}`;
    } catch {
      return this.#seen ?? ''; // it is being replaced, or gone: what is in use stays
    }
  }
}

function rounded(days: number): number {
  return Math.round(days * 100) / 100;
}
