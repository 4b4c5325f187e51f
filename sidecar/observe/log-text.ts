/**
 * Text log: turns pino's JSON lines into lines that people read.
 *
 * A few dozen lines here in place of pino-pretty and its dependencies. Values may come from strangers (a peer's name, a
 * request's path): what could forge a line or drive a terminal is escaped.
 */

interface Sink {
  write(line: string): void;
}

/** A destination for pino that writes text lines to `sink`; a line that is not JSON passes as it is. */
export function textDestination(sink: Sink): Sink {
  return {
    write(line: string): void {
      sink.write(toText(line));
    },
  };
}

/** `2026-01-02T03:04:05.678Z INFO  message  key=value key="two words"`, with an error's stack below. */
export function toText(line: string): string {
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return line;
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return line;
  const { time, level, message, err, worker_id: _ownId, ...fields } = entry as Record<string, unknown>;
  const head = `${plain(time)} ${plain(level).toUpperCase().padEnd(5)} ${plain(message)}`;
  const pairs = Object.entries(fields).map(([key, value]) => ` ${escapeControls(key)}=${valueText(value)}`);
  return `${head}${pairs.length > 0 ? ` ${pairs.join('')}` : ''}${errorText(err)}\n`;
}

function plain(value: unknown): string {
  return typeof value === 'string' ? escapeControls(value) : valueText(value);
}

function valueText(value: unknown): string {
  if (typeof value === 'string') {
    return /^[\w.:/@%+,-]+$/.test(value) ? value : escapeControls(JSON.stringify(value));
  }
  if (value === undefined) return '-';
  return escapeControls(JSON.stringify(value));
}

/** The message on the same line, the stack (where the logger kept one) indented below. */
function errorText(err: unknown): string {
  if (typeof err !== 'object' || err === null) return err === undefined ? '' : `  err=${valueText(err)}`;
  const { message, stack, code } = err as { message?: unknown; stack?: unknown; code?: unknown };
  const head = `  err=${valueText(message)}${code === undefined ? '' : ` err_code=${valueText(code)}`}`;
  if (typeof stack !== 'string') return head;
  const frames = stack.split('\n').filter((frame) => /^\s+at /.test(frame));
  return head + frames.map((frame) => `\n    ${escapeControls(frame.trim())}`).join('');
}

/** C0, DEL, C1, and the marks that turn or break text: none may reach a terminal or start a line. */
function escapeControls(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
