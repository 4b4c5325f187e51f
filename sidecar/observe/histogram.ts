/**
 * A histogram that costs an addition per observation, and gives prom-client its values at a scrape.
 *
 * prom-client's own resolves labels, checks them and hashes their text each time, also of a child that was asked for
 * once: 14 % of the CPU time of a hop with all metrics together.
 */
import type { Metric, MetricValueWithName, Registry } from 'prom-client';

export interface HistogramOptions<Label extends string> {
  readonly name: string;
  readonly help: string;
  /** Upper bounds, ascending, without +Inf. */
  readonly buckets: readonly number[];
  readonly labelNames: readonly Label[];
}

/** What is counted under one set of labels. */
export class HistogramSeries {
  readonly #bounds: readonly number[];
  /** Of each bucket alone, not of those below; the last is what lies above all bounds. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** What is not a finite number from 0 is dropped: a clock may have been set back. */
  observe(value: number): void {
    if (!Number.isFinite(value) || value < 0) return;
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > bounds[at]!) at += 1;
    this.counts[at]! += 1;
    this.sum += value;
  }
}

interface HistogramValues<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly aggregator: 'sum';
  readonly values: MetricValueWithName<Label | 'le'>[];
}

export class Histogram<Label extends string> {
  readonly name: string;
  readonly type = 'histogram';
  readonly labelNames: readonly Label[];
  readonly #options: HistogramOptions<Label>;
  readonly #series: {
    readonly labels: Readonly<Record<Label, string>>;
    readonly counted: HistogramSeries;
  }[] = [];

  constructor(options: HistogramOptions<Label>, registry: Registry) {
    this.name = options.name;
    this.labelNames = options.labelNames;
    this.#options = options;
    // A registry asks a metric for its name and its values, and nothing else.
    registry.registerMetric(this as unknown as Metric<Label>);
  }

  /** To be made once for each set of labels, and kept. */
  series(labels: Readonly<Record<Label, string>>): HistogramSeries {
    const counted = new HistogramSeries(this.#options.buckets);
    this.#series.push({ labels, counted });
    return counted;
  }

  /** As prom-client has it. */
  async get(): Promise<HistogramValues<Label>> {
    const { name, help } = this.#options;
    const values = this.#series.flatMap(({ labels, counted }) => this.#valuesOf(labels, counted));
    return { name, help, type: this.type, aggregator: 'sum', values };
  }

  #valuesOf(
    labels: Readonly<Record<Label, string>>,
    { counts, sum }: HistogramSeries,
  ): MetricValueWithName<Label | 'le'>[] {
    const { buckets, name } = this.#options;
    const values: MetricValueWithName<Label | 'le'>[] = [];
    let count = 0;
    const push = (suffix: string, value: number, le?: number | string): void => {
      const all = le === undefined ? labels : { le, ...labels };
      values.push({ metricName: `${name}_${suffix}`, labels: all as never, value });
    };
    counts.forEach((inBucket, i) => {
      count += inBucket;
      push('bucket', count, buckets[i] ?? '+Inf');
    });
    push('sum', sum);
    push('count', count);
    return values;
  }
}
