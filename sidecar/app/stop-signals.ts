/**
 * The signals that ask this process to end.
 *
 * Caught by one listener from the first moment on: between two there would be one in which a signal just kills the
 * process, or, where it is process 1 of a container, is lost. SIGHUP asks too, since a closed terminal must cut
 * nothing; it never forces, because a shell and the kernel send one each.
 */

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

export interface StopSignals {
  /** Aborted by the first; its reason is the name of the signal. */
  readonly requested: AbortSignal;
  /** Aborted by the second SIGTERM or SIGINT, with its name. */
  readonly forced: AbortSignal;
  /** From now on a signal does what it does to any process. */
  forget(): void;
}

export function catchStopSignals(): StopSignals {
  const request = new AbortController();
  const force = new AbortController();
  let mayForce = false;
  const onSignal = (name: NodeJS.Signals): void => {
    request.abort(name);
    if (name === 'SIGHUP') return;
    if (mayForce) force.abort(name);
    mayForce = true;
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return {
    requested: request.signal,
    forced: force.signal,
    forget: () => {
      for (const signal of SIGNALS) process.off(signal, onSignal);
    },
  };
}
