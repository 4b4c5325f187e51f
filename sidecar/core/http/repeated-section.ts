/**
 * The field section that came last on a connection, with what was made of it: clients and workers send the same fields
 * again and again, and a section of the same bytes means the same.
 *
 * The comparison is of all bytes, the empty line at the end among them, so that nothing is taken for the same that a
 * parser could read in another way.
 */

/** Longer sections are read anew each time: two copies of each would stay with every connection. */
const MAX_BYTES = 2_048;

export class RepeatedSection<T> {
  #bytes: Buffer | null = null;
  #length = 0;
  #value: T | null = null;

  /** What was made of the section, if the same begins at `from` and ends before `limit`; null if not. */
  match(b: Buffer, from: number, limit: number): T | null {
    const bytes = this.#bytes;
    const end = from + this.#length;
    if (bytes === null || end > limit) return null;
    return bytes.compare(b, from, end, 0, this.#length) === 0 ? this.#value : null;
  }

  /** Bytes of the section that `match` compares with. */
  get length(): number {
    return this.#length;
  }

  /** `b[from, end)` is a whole section, and `value` what it means. */
  keep(b: Buffer, from: number, end: number, value: T): void {
    const length = end - from;
    if (length > MAX_BYTES) {
      this.#bytes = null;
      this.#value = null;
      return;
    }
    if (this.#bytes === null || this.#bytes.length < length) this.#bytes = Buffer.allocUnsafeSlow(length);
    b.copy(this.#bytes, 0, from, end);
    this.#length = length;
    this.#value = value;
  }
}
