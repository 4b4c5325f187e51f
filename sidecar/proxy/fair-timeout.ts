/**
 * A time limit that is judged by what has come in, and not by what this process has read of it so far.
 *
 * When the loop stands still for a while (a busy host, a stopped process), timers that are due run before the sockets
 * are read: a connection that the kernel made long ago would count as one that was never made. So a limit that has
 * passed waits for one more look at the sockets: `setImmediate` runs after the poll phase (libuv, the event loop). It
 * must not know what is limited.
 */

/** Calls `onPassed` once, unless the function that it returns is called before. */
export function fairTimeout(onPassed: () => void, afterMs: number): () => void {
  let look: NodeJS.Immediate | null = null;
  const timer = setTimeout(() => {
    look = setImmediate(onPassed);
  }, afterMs);
  return () => {
    clearTimeout(timer);
    if (look !== null) clearImmediate(look);
  };
}
