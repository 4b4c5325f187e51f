/**
 * What an intermediary does with a list of fields: look one up, leave some out, keep those meant for the other end.
 *
 * Flat arrays instead of a map, because the order of same-named fields and the spelling of names must survive (RFC 9110
 * §5.3), and ten fields are searched faster than hashed.
 */
import type { RawFields } from './message.ts';

export function isNamed(name: string, lowerName: string): boolean {
  return name.length === lowerName.length && (name === lowerName || name.toLowerCase() === lowerName);
}

/** Value of the first field of this name (given in lower case). */
export function first(fields: RawFields, lowerName: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (isNamed(fields[i]!, lowerName)) return fields[i + 1];
  }
  return undefined;
}

/** Values of every field of this name (given in lower case), in order. */
export function all(fields: RawFields, lowerName: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (isNamed(fields[i]!, lowerName)) values.push(fields[i + 1]!);
  }
  return values;
}

export function has(fields: RawFields, lowerName: string): boolean {
  return first(fields, lowerName) !== undefined;
}

/** A new list without the fields whose lower-case name `isDropped` names. */
export function without(fields: RawFields, isDropped: (lowerName: string) => boolean): RawFields {
  const kept: RawFields = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (!isDropped(fields[i]!.toLowerCase())) kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}

/**
 * A new list with this Host as its first field and no other: what a client of HTTP/1.0 left out must be said, and an
 * absolute-form target overrules the field that came with it (RFC 9112 §3.2.2).
 */
export function withHost(fields: RawFields, host: string): RawFields {
  const result: RawFields = ['Host', host];
  for (let i = 0; i < fields.length; i += 2) {
    if (!isNamed(fields[i]!, 'host')) result.push(fields[i]!, fields[i + 1]!);
  }
  return result;
}

/** For a switch of protocol that the caller carries on: `endToEnd` dropped these two, the next hop needs them. */
export function upgradeHeaders(protocol: string): RawFields {
  return ['Connection', 'Upgrade', 'Upgrade', protocol];
}
