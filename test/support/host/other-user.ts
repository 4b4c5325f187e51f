/**
 * Preloaded (`--import`) into a process that is to be nobody: root may write everywhere, whatever the modes say. Once:
 * a sidecar starts itself anew in its own place, as nobody by then.
 */
if (process.getuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(65_534);
  process.setuid?.(65_534);
}
