/** Preloaded (`--import`) into a process that is to be nobody: root may write everywhere, whatever the modes say. */
process.setgroups?.([]);
process.setgid?.(65_534);
process.setuid?.(65_534);
