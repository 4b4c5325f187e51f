/**
 * What a worker says of its load by the header `endpoint-load-metrics`: ORCA, the field's standard, as Envoy, gRPC and
 * vLLM write it.
 */

/** Longer values are not read: a worker's own word may not make its response cost much. */
const MAX_CHARS = 4_096;

/**
 * Load, 0..1; null when nothing in the value is usable. Never throws. Takes TEXT and JSON, with or without that word in
 * front. It is `application_utilization`, or else the higher of `cpu_utilization` and vLLM's `kv_cache_usage_perc`.
 */
export function loadInOrca(value: string): number | null {
  if (value.length > MAX_CHARS) return null;
  const text = value.trim();
  const isJson = /^(?:JSON\s*)?\{/.test(text);
  const metrics = isJson ? jsonMetrics(text.replace('JSON', '')) : textMetrics(text.replace(/^TEXT\s+/, ''));
  const load =
    metrics.get('application_utilization') ??
    Math.max(metrics.get('cpu_utilization') ?? -1, metrics.get('kv_cache_usage_perc') ?? -1);
  return load >= 0 ? Math.min(1, load) : null;
}

/** `name=number,…`; a part that is not of this form is skipped. */
function textMetrics(text: string): Map<string, number> {
  const metrics = new Map<string, number>();
  for (const part of text.split(',')) {
    const at = part.indexOf('=');
    if (at > 0) put(metrics, part.slice(0, at).trim(), toNumber(part.slice(at + 1)));
  }
  return metrics;
}

function jsonMetrics(text: string): Map<string, number> {
  const metrics = new Map<string, number>();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return metrics;
  }
  if (typeof json !== 'object' || json === null) return metrics;
  for (const [name, value] of Object.entries(json)) {
    if (typeof value === 'number') put(metrics, name, value);
    else if (name === 'named_metrics' && typeof value === 'object' && value !== null) {
      for (const [named, number] of Object.entries(value))
        if (typeof number === 'number') put(metrics, named, number);
    }
  }
  return metrics;
}

function put(metrics: Map<string, number>, name: string, value: number): void {
  if (Number.isFinite(value)) metrics.set(name.startsWith('named_metrics.') ? name.slice(14) : name, value);
}

function toNumber(text: string): number {
  const trimmed = text.trim();
  return /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(trimmed) ? Number(trimmed) : Number.NaN;
}
