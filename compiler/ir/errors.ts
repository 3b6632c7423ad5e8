/** A place in a file that somebody wrote: a model's TypeScript, or textual IR. Lines and columns count from 1. */
export interface SourcePos {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * An error that the user can mend: one full sentence of what is wrong, where, what was expected and given, and what
 * to do. The CLI prints `message` (with a frame of the source, when the place is known) and exits with 1. Any other exception is
 * our own fault and exits with 2.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError';
  readonly exitCode = 1;
  /** The sentence alone, without place and frame. */
  readonly reason: string;
  /** The line of the source with a caret under the place, if the message shows it already. */
  readonly frame: string | undefined;
  constructor(message: string, readonly where?: SourcePos, options?: ErrorOptions & { readonly frame?: string | undefined }) {
    const frame = options?.frame;
    super((where ? `${where.file}:${where.line}:${where.column}: ${message}` : message) + (frame ? `\n\n${frame}` : ''), options);
    this.reason = message;
    this.frame = frame;
  }
}

/** The line of `source` that holds a place, with its number, and a caret under the place. */
export function sourceFrame(source: string, { line, column }: { readonly line: number; readonly column: number }): string {
  const text = (source.split(/\r\n|\r|\n/)[line - 1] ?? '').replace(/\t/g, ' ');
  // A long line is cut to the neighbourhood of the place.
  const start = Math.max(0, column - 1 - 100), shown = text.slice(start, start + 160);
  const head = `  ${line} | `;
  return `${head}${shown}\n${' '.repeat(head.length - 2)}| ${' '.repeat(column - 1 - start)}^`;
}
