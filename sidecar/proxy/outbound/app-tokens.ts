/**
 * Which app asks, by its token: in `sidecar-token`, or, since many apps have but a place for a base URL and one for an
 * API key, in `Authorization: Bearer`.
 *
 * Tokens are looked up by a keyed hash, so that the time it takes tells nothing of them, however many there are.
 */
import { hash, randomBytes } from 'node:crypto';
import { first, isNamed } from '../../core/http/headers.ts';
import type { RequestHead } from '../../core/http/message.ts';

/** Who asks; `name` is null where its token has none, or none is wanted. */
export interface App {
  readonly name: string | null;
}

/** Longer than any that can be configured. */
const MAX_TOKEN_CHARS = 1_024;

const ANYONE: App = { name: null };

export class AppTokens {
  readonly #salt = randomBytes(32).toString('hex');
  readonly #apps = new Map<string, App>();

  /** `token`: of no app in particular; `named`: app → its own. */
  constructor(token: string | null, named: ReadonlyMap<string, string>) {
    for (const [name, own] of named) this.#apps.set(this.#digest(own), { name });
    if (token !== null) this.#apps.set(this.#digest(token), ANYONE);
  }

  /**
   * null = no token is right. A token that stands in Authorization is taken out of the head: it is meant for this
   * sidecar, and the worker must not learn it. What else stands there is the worker's.
   */
  admit(head: RequestHead): App | null {
    if (this.#apps.size === 0) return ANYONE;
    const bearer = this.#takeBearer(head);
    const token = first(head.fields, 'sidecar-token');
    return token === undefined ? bearer : this.#appOf(token);
  }

  #takeBearer(head: RequestHead): App | null {
    const { fields } = head;
    let found: App | null = null;
    for (let i = fields.length - 2; i >= 0; i -= 2) {
      if (fields[i]!.length !== 13 || !isNamed(fields[i]!, 'authorization')) continue;
      const token = /^bearer +([^ ]+)$/i.exec(fields[i + 1]!)?.[1];
      const app = token === undefined ? null : this.#appOf(token);
      if (app === null) continue;
      // A list of its own: that of the head is also the next request's, if that has the same.
      head.fields = head.fields.toSpliced(i, 2);
      delete head.repeated;
      found = app;
    }
    return found;
  }

  #appOf(token: string): App | null {
    return token.length > MAX_TOKEN_CHARS ? null : (this.#apps.get(this.#digest(token)) ?? null);
  }

  #digest(token: string): string {
    return hash('sha256', `${this.#salt}${token}`, 'base64');
  }
}
