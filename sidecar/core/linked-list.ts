/**
 * A list that runs through its own members, for what each request enters and leaves.
 *
 * Not a Set: V8 replaces a Set's table as it grows and shrinks, the old tables lie in the old generation, and what is
 * in them (whole requests) survives each scavenge until the next major collection. That cost a fifth of the requests
 * and two thirds of the p99 under saturation.
 */

/** Base of a member; it can be in one list at a time. */
export class ListMember {
  /** Neighbours; itself while it is in no list. Of the list alone. */
  previous: ListMember = this;
  next: ListMember = this;

  get isListed(): boolean {
    return this.next !== this;
  }
}

export class LinkedList<T extends ListMember> {
  /** Its neighbours are the last and the first. */
  readonly #ends = new ListMember();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | null {
    const first = this.#ends.next;
    return first === this.#ends ? null : (first as T);
  }

  /** At the end; nothing happens to one that is in a list. */
  add(member: T): void {
    if (member.isListed) return;
    const last = this.#ends.previous;
    member.previous = last;
    member.next = this.#ends;
    last.next = member;
    this.#ends.previous = member;
    this.#size += 1;
  }

  /** Only of a member of this list, or of none. */
  remove(member: T): void {
    if (!member.isListed) return;
    member.previous.next = member.next;
    member.next.previous = member.previous;
    member.previous = member;
    member.next = member;
    this.#size -= 1;
  }

  /** A copy, from first to last: what is done with one member may add and remove any other. */
  toArray(): T[] {
    const members: T[] = [];
    for (let at = this.#ends.next; at !== this.#ends; at = at.next) members.push(at as T);
    return members;
  }
}
