/**
 * The example worker: plain HTTP that knows nothing of the mesh, so that the example shows what a real worker
 * has to do for it (nothing). It says who answered and what it was asked.
 */
import { createServer } from 'node:http';

const name = process.env.WORKER_NAME ?? 'worker';
const workMs = Number(process.env.WORK_MS ?? 20);

const server = createServer(async (request, response) => {
  let bodyBytes = 0;
  for await (const chunk of request) bodyBytes += chunk.length;
  setTimeout(() => {
    response.setHeader('content-type', 'application/json');
    response.end(
      `${JSON.stringify({ worker: name, method: request.method, path: request.url, bodyBytes })}\n`,
    );
  }, workMs);
});

server.listen(9000, '0.0.0.0', () => console.log(`${name}: listening on port 9000`));
// As PID 1 of its container nothing ends it but itself; running requests are answered first.
process.once('SIGTERM', () => server.close());
