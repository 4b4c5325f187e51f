/**
 * The Via field (RFC 9110 §7.6.3): the mark each sidecar leaves, and by which it knows a message that comes back.
 *
 * A pseudonym instead of an address, so that nothing of the network is told to workers and apps.
 */
import { isToken } from '../http/http1-syntax.ts';
import type { HttpVersion, RawFields } from '../http/message.ts';

/** A received-by name from any text: characters that it cannot hold become `-`. */
export function viaPseudonym(name: string): string {
  const pseudonym = name.replace(/[^A-Za-z0-9!#$%&'*+.^_`|~-]/g, '-');
  return isToken(pseudonym) ? pseudonym : 'sidecar';
}

/** Value of the Via field to add as a further line, after any that came; `version` is that of the received message. */
export function viaValue(version: HttpVersion, pseudonym: string): string {
  return `${version} ${pseudonym}`;
}

/** Whether a hop of this pseudonym is already named. Comments are skipped; names are compared without case. */
export function viaContains(fields: RawFields, pseudonym: string): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length === 3 && name.toLowerCase() === 'via' && names(fields[i + 1]!, pseudonym.toLowerCase()))
      return true;
  }
  return false;
}

function names(value: string, lowerPseudonym: string): boolean {
  const lower = value.toLowerCase();
  // Nearly every value stops here; the rest is checked word by word.
  if (!lower.includes(lowerPseudonym)) return false;
  for (const element of withoutComments(lower).split(',')) {
    const words = element.split(/[ \t]+/).filter((word) => word !== '');
    if (words[1] === lowerPseudonym) return true;
  }
  return false;
}

/** Comments nest and may hold commas and escaped parentheses (RFC 9110 §5.6.5). */
function withoutComments(value: string): string {
  if (!value.includes('(')) return value;
  let text = '';
  let depth = 0;
  for (let i = 0; i < value.length; i++) {
    const character = value[i]!;
    if (depth > 0 && character === '\\') i++;
    else if (character === '(') depth++;
    else if (character === ')' && depth > 0) depth--;
    else if (depth === 0) text += character;
  }
  return text;
}
