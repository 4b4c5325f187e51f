/**
 * The example app: calls services by name through the sidecar beside it, and never learns where they run.
 *
 * `GET /<service>/<path>` here is passed to the sidecar as `/service/<service>/<path>`, and answered with what
 * came back and who answered. It also makes a call each second, so that the dashboards have something to show;
 * only a change of the outcome is logged.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const sidecar = process.env.SIDECAR_URL ?? 'http://127.0.0.1:8010';
const tokenFile = process.env.SIDECAR_TOKEN_FILE;
const headers = tokenFile ? { 'sidecar-token': readFileSync(tokenFile, 'utf8').trim() } : {};

async function call(path) {
  const response = await fetch(`${sidecar}/service${path}`, { headers, signal: AbortSignal.timeout(10_000) });
  return {
    status: response.status,
    worker: response.headers.get('sidecar-worker'),
    route: response.headers.get('sidecar-route'),
    attempts: response.headers.get('sidecar-attempts'),
    answer: await response.json(),
  };
}

createServer(async (request, response) => {
  response.setHeader('content-type', 'application/json');
  try {
    const seen = await call(request.url);
    response.statusCode = seen.status;
    response.end(`${JSON.stringify(seen)}\n`);
  } catch (error) {
    response.statusCode = 502;
    response.end(`${JSON.stringify({ error: String(error.cause ?? error) })}\n`);
  }
}).listen(8080, '0.0.0.0', () => console.log(`app: GET http://127.0.0.1:8080/llm-inference/hello`));

let last = '';
setInterval(async () => {
  const outcome = await call('/vision-ocr/tick').then(
    (seen) => `${seen.status} from ${seen.worker ?? seen.answer.code} by ${seen.route}`,
    (error) => String(error.cause ?? error),
  );
  if (outcome !== last) console.log(`app: vision-ocr: ${outcome}`);
  last = outcome;
}, 1000);

// As PID 1 of its container nothing ends it but itself.
process.once('SIGTERM', () => process.exit(0));
