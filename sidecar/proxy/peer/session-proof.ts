/**
 * How one sidecar asks another whether its worker has a session, without telling of which, and without having to trust
 * the one who says yes.
 *
 * One hash of a session's id gives two halves. By the first it is asked for; who knows the id alone has the other, of
 * which he makes his answer together with his own key. So a member cannot draw sessions to itself of which it does not
 * know the ids, and cannot pass on what another one answered. An id that can be guessed can be claimed: that is true of
 * all that it opens, too.
 */
import { hash } from 'node:crypto';

export const SESSION_PATH = '/session/';

/** 128 bits each, as base64url. */
export interface SessionKey {
  /** By which it is asked for and kept. */
  readonly handle: string;
  readonly secret: string;
}

const HALF_CHARS = 22;
const ASKED = /^\/session\/([^/?]{1,63})\/([\w-]{22})$/;

export function sessionKey(service: string, id: string): SessionKey {
  const digest = hash('sha512', `dht-sidecar session\n${service}\n${id}`, 'base64url');
  return { handle: digest.slice(0, HALF_CHARS), secret: digest.slice(HALF_CHARS, 2 * HALF_CHARS) };
}

/** That the holder of `ownerKey` knows the session, and its worker has it. */
export function sessionProof(secret: string, ownerKey: string): string {
  return hash('sha256', `dht-sidecar session owner\n${ownerKey}\n${secret}`, 'base64url');
}

export function sessionPath(service: string, handle: string): string {
  return `${SESSION_PATH}${service}/${handle}`;
}

/** What is asked by such a path; null when it is none. */
export function parseSessionPath(path: string): { readonly service: string; readonly handle: string } | null {
  const match = ASKED.exec(path);
  return match === null ? null : { service: match[1] as string, handle: match[2] as string };
}
