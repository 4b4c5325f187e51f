/**
 * Preloaded into a sidecar (`NODE_OPTIONS=--import=…`), tells what its V8 allocates and how long it stops to collect.
 *
 * Listens on a socket in `BENCH_GC_FOLDER` named after its process; from a connection's begin to its end it notes each
 * collection. What was allocated is the growth of the heap between them. By a socket and not by standard input or
 * IPC, so that it also works for a process that the sidecar starts or becomes.
 */
import { rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { GCProfiler, getHeapStatistics } from 'node:v8';

const MICROSECONDS_PER_MS = 1_000;

/** What happened since `usedBytes` were in use. */
function told(collections, usedBytes) {
  let allocatedBytes = 0;
  let lastBytes = usedBytes;
  let collectingMs = 0;
  let scavenges = 0;
  let longestScavengeMs = 0;
  for (const { gcType, cost, beforeGC, afterGC } of collections) {
    allocatedBytes += beforeGC.heapStatistics.usedHeapSize - lastBytes;
    lastBytes = afterGC.heapStatistics.usedHeapSize;
    const ms = cost / MICROSECONDS_PER_MS;
    collectingMs += ms;
    if (gcType !== 'Scavenge') continue;
    scavenges += 1;
    longestScavengeMs = Math.max(longestScavengeMs, ms);
  }
  allocatedBytes += getHeapStatistics().used_heap_size - lastBytes;
  return { allocatedBytes, scavenges, longestScavengeMs, collectingMs };
}

const path = join(process.env.BENCH_GC_FOLDER ?? '.', `${process.pid}.sock`);
rmSync(path, { force: true });
net
  .createServer({ allowHalfOpen: true }, (socket) => {
    const usedBytes = getHeapStatistics().used_heap_size;
    const profiler = new GCProfiler();
    profiler.start();
    socket.resume();
    socket.on('error', () => {});
    socket.once('end', () => socket.end(JSON.stringify(told(profiler.stop().statistics, usedBytes))));
  })
  .listen(path)
  .unref();
