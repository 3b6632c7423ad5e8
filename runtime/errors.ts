/** What went wrong, in one word that a program can compare. The sentence in `message` is for people. */
export type RuntimeErrorCode =
  | 'adapter' // no usable WebGPU adapter, or it lacks what was asked for
  | 'device' // WebGPU refused something that we asked of the device
  | 'device-lost' // the device is gone
  | 'file' // a file or URL cannot be read
  | 'format' // a file is not what its format says
  | 'image' // a picture cannot be used
  | 'tokenizer' // a tokenizer file or a text that it cannot write
  | 'chat' // a chat template or its messages
  | 'sampling' // options or logits that nothing can be drawn from
  | 'bundle' // a bundle that cannot be used
  | 'limit' // an input that is longer than the bundle's limit
  | 'value'; // an argument outside its range

/**
 * An error that whoever runs a bundle can mend. `message` is made of full sentences: what is wrong, where, what was
 * expected and given, and what to do. The CLI prints it and exits with 1; any other exception is our own fault and
 * exits with 2.
 */
export class RuntimeError extends Error {
  override readonly name: string = 'RuntimeError';
  readonly exitCode = 1;
  readonly code: RuntimeErrorCode | (string & {});
  constructor(code: RuntimeErrorCode | (string & {}), message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The message of anything thrown or reported (WebGPU's errors are no `Error`), for quoting inside a sentence of ours. */
export function reasonOf(error: unknown): string {
  const message = typeof error === 'object' && error !== null && 'message' in error ? error.message : error;
  return String(message).trim().replace(/\.$/, '');
}
