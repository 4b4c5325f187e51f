/**
 * Virtual time: what is to happen, in the order of time and, at the same time, of asking.
 *
 * A binary heap of callbacks; a simulated hour costs what happens in it. It must not know what happens.
 */
interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly happen: () => void;
}

export class VirtualClock {
  nowMs = 0;
  readonly #heap: Event[] = [];
  #order = 0;

  after(delayMs: number, happen: () => void): void {
    this.at(this.nowMs + delayMs, happen);
  }

  at(atMs: number, happen: () => void): void {
    const heap = this.#heap;
    const event = { atMs, order: this.#order++, happen };
    let i = heap.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!isBefore(event, heap[parent] as Event)) break;
      heap[i] = heap[parent] as Event;
      i = parent;
    }
    heap[i] = event;
  }

  /** Until nothing is left, or `isDone`. */
  run(isDone: () => boolean): void {
    while (this.#heap.length > 0 && !isDone()) {
      const event = this.#take();
      this.nowMs = event.atMs;
      event.happen();
    }
  }

  #take(): Event {
    const heap = this.#heap;
    const first = heap[0] as Event;
    const last = heap.pop() as Event;
    if (heap.length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child += 1;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[i] = heap[child] as Event;
      i = child;
    }
    heap[i] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
