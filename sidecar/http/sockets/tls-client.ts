/**
 * How connections by TLS to one worker are made: whom to trust, by which name it must prove itself, and with which
 * certificate we do.
 *
 * The files are looked at again before a connection is made, at most once a second, so that a renewed certificate needs
 * no restart. One that cannot be used leaves the last good one in place.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { type ConnectionOptions, createSecureContext, type SecureContext } from 'node:tls';
import { messageOf } from '../../core/errors.ts';

export interface TlsClientOptions {
  /** Paths of PEM files; null = the system's CAs. */
  readonly caFile: string | null;
  /** null = we show none. */
  readonly certFile: string | null;
  readonly keyFile: string | null;
  /** Asked for (SNI) and looked for in its certificate; null = the host of the URL. */
  readonly serverName: string | null;
  /** False: whatever certificate it has is taken. */
  readonly isVerified: boolean;
  /** Changed files were taken (null), or could not be. */
  onReload(fault: string | null): void;
}

type TlsConnect = Pick<ConnectionOptions, 'secureContext' | 'servername' | 'rejectUnauthorized'>;

const LOOK_EVERY_MS = 1_000;

let made = 0;

export class TlsClient {
  /** Connections by different ones are not shared. */
  readonly id = ++made;
  readonly #options: TlsClientOptions;
  readonly #files: readonly string[];
  #context: SecureContext | null = null;
  #seen = '';
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: TlsClientOptions) {
    this.#options = options;
    this.#files = [options.caFile, options.certFile, options.keyFile].filter((file) => file !== null);
  }

  /** For one connection to that host. Throws when the files could never be read. */
  connectOptions(host: string): TlsConnect {
    const { serverName, isVerified } = this.#options;
    const name = serverName ?? (isIP(host) === 0 ? host : null);
    return {
      secureContext: this.#current(),
      rejectUnauthorized: isVerified,
      ...(name === null ? {} : { servername: name }),
    };
  }

  #current(): SecureContext {
    const nowMs = performance.now();
    const last = this.#context;
    if (last !== null && (this.#files.length === 0 || nowMs - this.#lookedAtMs < LOOK_EVERY_MS)) return last;
    this.#lookedAtMs = nowMs;
    const seen = this.#files.map(stamp).join();
    if (last !== null && seen === this.#seen) return last;
    this.#seen = seen;
    try {
      const context = this.#read();
      this.#context = context;
      if (last !== null) this.#options.onReload(null);
      return context;
    } catch (error) {
      if (last === null) throw error;
      this.#options.onReload(messageOf(error));
      return last;
    }
  }

  #read(): SecureContext {
    const { caFile, certFile, keyFile } = this.#options;
    return createSecureContext({
      ...(caFile === null ? {} : { ca: certificates(caFile) }),
      ...(certFile === null ? {} : { cert: readFileSync(certFile) }),
      ...(keyFile === null ? {} : { key: readFileSync(keyFile) }),
    });
  }
}

/** OpenSSL takes a file without any for an empty list, and then trusts nobody. */
function certificates(path: string): Buffer {
  const content = readFileSync(path);
  new X509Certificate(content);
  return content;
}

/** Different when the file is another one; reading it says what is wrong with one that cannot be looked at. */
function stamp(path: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(path);
    return `${ino}:${size}:${mtimeMs}`;
  } catch {
    return 'none';
  }
}
