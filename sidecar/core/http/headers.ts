/**
 * What an intermediary does with a list of headers: look one up, leave some out, add one.
 *
 * Flat arrays instead of a map, because the order of headers of one name and the spelling of names must survive (RFC
 * 9110 §5.3), and ten headers are searched faster than hashed.
 */
import type { RawFields } from './message.ts';

/** The first letter keeps nearly every other name of the same length out before a copy is made. */
export function isNamed(name: string, lowerName: string): boolean {
  return (
    name.length === lowerName.length &&
    (name.charCodeAt(0) | 0x20) === lowerName.charCodeAt(0) &&
    (name === lowerName || name.toLowerCase() === lowerName)
  );
}

/** Value of the first header of this name (given in lower case). */
export function first(fields: RawFields, lowerName: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) {
    if (isNamed(fields[i]!, lowerName)) return fields[i + 1];
  }
  return undefined;
}

/** Values of every header of this name (given in lower case), in order. */
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

/** A new list without the headers for whose lower-case name `isDropped` is true. */
export function without(fields: RawFields, isDropped: (lowerName: string) => boolean): RawFields {
  const kept: RawFields = [];
  for (let i = 0; i < fields.length; i += 2) {
    if (!isDropped(fields[i]!.toLowerCase())) kept.push(fields[i]!, fields[i + 1]!);
  }
  return kept;
}

/**
 * A new list with this Host first and no other: what a client of HTTP/1.0 left out must be said, and an absolute-form
 * target overrules the Host that came with it (RFC 9112 §3.2.2).
 */
export function withHost(fields: RawFields, host: string): RawFields {
  const result: RawFields = ['Host', host];
  for (let i = 0; i < fields.length; i += 2) {
    if (!isNamed(fields[i]!, 'host')) result.push(fields[i]!, fields[i + 1]!);
  }
  return result;
}

/** For a switch of protocol that goes on to the next hop, which needs these two: `endToEnd` dropped them. */
export function upgradeHeaders(protocol: string): RawFields {
  return ['Connection', 'Upgrade', 'Upgrade', protocol];
}
