/**
 * `PUT /reload` on the admin port, from the same host: reads the configuration anew, and says what that changed.
 */

export interface ReloadChanges {
  readonly services: {
    readonly added: readonly string[];
    readonly removed: readonly string[];
    /** In anything. */
    readonly changed: readonly string[];
  };
  /** Options that differ and are taken over. */
  readonly applied: readonly string[];
}

export type ReloadResult =
  | (ReloadChanges & {
      readonly kind: 'done';
      /** Options that stay as they were until a restart. */
      readonly needs_restart: readonly string[];
    })
  /** Nothing was changed; the mistakes as the start would tell them. */
  | { readonly kind: 'refused'; readonly problems: readonly string[] };

/** Status and body of its answer. null = this sidecar was not started from a configuration that could be read anew. */
export function reloadAnswer(result: ReloadResult | null): {
  readonly status: number;
  readonly body: object;
} {
  if (result === null)
    return { status: 409, body: { code: 'no_configuration', detail: 'There is nothing to be read anew.' } };
  if (result.kind === 'done') {
    const { kind: _, ...body } = result;
    return { status: 200, body };
  }
  const { problems } = result;
  return {
    status: 400,
    body: { code: 'bad_config', detail: 'The configuration has mistakes: nothing is changed.', problems },
  };
}
