/**
 * The three lowest of a sequence, and the draw among them at 50/30/20 %.
 *
 * Instead of sorting: linear, and nothing is allocated. The weights are the document's; two share 5:3.
 */

const WEIGHTS = [0.5, 0.3, 0.2] as const;

export class TopThree {
  size = 0;
  readonly #indexes = new Int32Array(3);
  readonly #values = new Float64Array(3);
  readonly #ties = new Float64Array(3);

  clear(): void {
    this.size = 0;
  }

  /** Lower `value` first, then lower `tie`. */
  offer(index: number, value: number, tie: number): void {
    let rank = this.size;
    while (rank > 0 && this.#isBefore(value, tie, rank - 1)) rank -= 1;
    if (rank === 3) return;
    if (this.size < 3) this.size += 1;
    for (let to = this.size - 1; to > rank; to -= 1) {
      this.#indexes[to] = this.#indexes[to - 1] as number;
      this.#values[to] = this.#values[to - 1] as number;
      this.#ties[to] = this.#ties[to - 1] as number;
    }
    this.#indexes[rank] = index;
    this.#values[rank] = value;
    this.#ties[rank] = tie;
  }

  at(rank: number): number {
    return this.#indexes[rank] as number;
  }

  /** Keep only the ranks that pass; the first always does. */
  keep(passes: (index: number) => boolean): void {
    let kept = 1;
    for (let rank = 1; rank < this.size; rank += 1) {
      if (!passes(this.at(rank))) continue;
      this.#indexes[kept] = this.at(rank);
      kept += 1;
    }
    this.size = Math.min(this.size, kept);
  }

  /** One of them; `random` uniform in [0, 1). */
  draw(random: number): number {
    let total = 0;
    for (let rank = 0; rank < this.size; rank += 1) total += WEIGHTS[rank] as number;
    let left = random * total;
    for (let rank = 0; rank < this.size - 1; rank += 1) {
      left -= WEIGHTS[rank] as number;
      if (left < 0) return this.at(rank);
    }
    return this.at(this.size - 1);
  }

  #isBefore(value: number, tie: number, rank: number): boolean {
    const other = this.#values[rank] as number;
    return value < other || (value === other && tie < (this.#ties[rank] as number));
  }
}
