/** A place in a file that somebody wrote: a model's TypeScript, or textual IR. Lines and columns count from 1. */
export interface SourcePos {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/**
 * An error that the user can mend: one full sentence of what is wrong, where, what was expected and given, and what
 * to do. The CLI prints `message` (with the frame, when the place is known) and exits with 1. Any other exception is
 * our own fault and exits with 2.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError';
  readonly exitCode = 1;
  constructor(message: string, readonly where?: SourcePos, options?: ErrorOptions) {
    super(where ? `${where.file}:${where.line}:${where.column}: ${message}` : message, options);
  }
}
