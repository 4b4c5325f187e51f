/**
 * What a request asks of its worker: requirements and preferences on capabilities, read from text and held against a
 * record.
 */

export type CapabilityValue = string | number | boolean;
export type Capabilities = Readonly<Record<string, CapabilityValue>>;

type Operator = '=' | '!=' | '>=' | '<=';

/** One term, as `gpu_type=RTX 4090|A100` or `vram_gb>=24`. */
export interface Requirement {
  readonly name: string;
  readonly operator: Operator;
  /** One or more; with `=` any of them will do, with `!=` none may be it. */
  readonly values: readonly string[];
  /** As it is shown. */
  readonly text: string;
}

export type ParsedRequirements = readonly Requirement[] | { readonly fault: string };

export const NO_REQUIREMENTS: readonly Requirement[] = [];

/** Longer texts are refused: they are held against each worker for each request. */
const MAX_CHARS = 1_024;
const MAX_TERMS = 16;
const TERM = /^([a-z][a-z0-9_]{0,62})[ \t]*(!=|>=|<=|=)[ \t]*([^=<>!|][^|]*(?:\|[^|]+)*)$/;
const NUMBER = /^[+-]?\d{1,15}(?:\.\d{1,6})?$/;

/**
 * Terms with commas between them; '' has none. Never throws. `fault`: what is wrong, in the words of whoever wrote it.
 */
export function parseRequirements(text: string): ParsedRequirements {
  if (text.trim() === '') return NO_REQUIREMENTS;
  if (text.length > MAX_CHARS) return { fault: `longer than ${MAX_CHARS} characters` };
  const terms = text.split(',');
  if (terms.length > MAX_TERMS) return { fault: `more than ${MAX_TERMS} terms` };
  const found: Requirement[] = [];
  for (const term of terms) {
    const [, name = '', operator = '', rest = ''] = TERM.exec(term.trim()) ?? [];
    if (!isOperator(operator))
      return {
        fault: `${JSON.stringify(term.trim())} is not name=value, name=a|b, name!=value, name>=number or name<=number`,
      };
    const values = rest.split('|').map((value) => value.trim());
    if (values.includes('')) return { fault: `${JSON.stringify(term.trim())} has an empty value` };
    if (isOrder(operator) && !(values.length === 1 && NUMBER.test(values[0] ?? '')))
      return { fault: `${JSON.stringify(term.trim())} compares with what is no number` };
    found.push({ name, operator, values, text: `${name}${operator}${values.join('|')}` });
  }
  return found;
}

/** A capability that is not known meets only what it must not be. */
export function meets(capabilities: Capabilities, { name, operator, values }: Requirement): boolean {
  const value = Object.hasOwn(capabilities, name) ? capabilities[name] : undefined;
  if (!isOrder(operator)) {
    const isOneOf = value !== undefined && values.some((wanted) => isSame(value, wanted));
    return isOneOf === (operator === '=');
  }
  const number = typeof value === 'number' ? value : Number.NaN;
  const bound = Number(values[0]);
  return operator === '>=' ? number >= bound : number <= bound;
}

export function meetsAll(capabilities: Capabilities, requirements: readonly Requirement[]): boolean {
  for (const requirement of requirements) if (!meets(capabilities, requirement)) return false;
  return true;
}

/** Those that are not met, each with what there is instead: `vram_gb>=24 (it has 16)`. */
export function unmetText(capabilities: Capabilities, requirements: readonly Requirement[]): string {
  return requirements
    .filter((requirement) => !meets(capabilities, requirement))
    .map(({ name, text }) => {
      const value = Object.hasOwn(capabilities, name) ? capabilities[name] : undefined;
      return `${text} (${value === undefined ? 'not told' : `it has ${value}`})`;
    })
    .join(', ');
}

/** How well preferences are met: the first counts more than all behind it. */
export function preferenceRank(capabilities: Capabilities, preferences: readonly Requirement[]): number {
  let rank = 0;
  for (const preference of preferences) rank = rank * 2 + (meets(capabilities, preference) ? 1 : 0);
  return rank;
}

/** How many workers there are that meet each, and which comes nearest; for the one who reads the refusal. */
export function unmetSummary(
  workers: readonly { readonly worker_id: string; readonly capabilities: Capabilities }[],
  requirements: readonly Requirement[],
): string {
  const parts = requirements.map((requirement) => {
    const count = workers.filter(({ capabilities }) => meets(capabilities, requirement)).length;
    return `${requirement.text} is met by ${count}`;
  });
  const lacking = ({ capabilities }: (typeof workers)[number]): number =>
    requirements.filter((requirement) => !meets(capabilities, requirement)).length;
  const [nearest] = workers.toSorted((a, b) => lacking(a) - lacking(b));
  const summary = `of ${workers.length} known ${workers.length === 1 ? 'worker' : 'workers'} ${parts.join(', ')}`;
  if (nearest === undefined) return summary;
  return `${summary}; the nearest, ${nearest.worker_id}, lacks ${unmetText(nearest.capabilities, requirements)}`;
}

function isOperator(text: string): text is Operator {
  return text === '=' || text === '!=' || isOrder(text);
}

function isOrder(text: string): text is '>=' | '<=' {
  return text === '>=' || text === '<=';
}

function isSame(value: CapabilityValue, wanted: string): boolean {
  if (typeof value === 'number') return NUMBER.test(wanted) && Number(wanted) === value;
  return String(value).toLowerCase() === wanted.toLowerCase();
}
