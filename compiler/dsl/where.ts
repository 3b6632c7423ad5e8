import { fileURLToPath } from 'node:url';
import { UserError } from '../ir/errors.ts';
import type { SourcePos } from '../ir/errors.ts';

/** Everything under `compiler/` is ours; the first frame outside it stands in the author's file. */
const ours = fileURLToPath(new URL('..', import.meta.url));
const dsl = fileURLToPath(new URL('.', import.meta.url));
const frame = /^\s*at (?:.*?\()?(?:async )?(.+?):(\d+):(\d+)\)?$/;
/** The author's frame is nearly always among the first few, and each frame that is looked at costs a look-up in a source map. */
const depths = [8, 50];

/** The frames of a stack that stand in files, innermost first. */
function* places(stack: string): Generator<SourcePos> {
  for (const line of stack.split('\n')) {
    const [, place, row, column] = frame.exec(line) ?? [];
    if (!place || place.startsWith('node:') || place === '<anonymous>') continue;
    yield { file: place.startsWith('file:') ? fileURLToPath(place) : place, line: Number(row), column: Number(column) };
  }
}

/**
 * Where the author's code called the DSL: file, line and column of the innermost stack frame outside the compiler.
 * Undefined when the compiler alone called it. Relies on source maps being on (tsx and vitest turn them on).
 */
export function callSite(): SourcePos | undefined {
  const limit = Error.stackTraceLimit, key = rawFrames();
  if (known.has(key)) return known.get(key);
  try {
    for (Error.stackTraceLimit of depths)
      for (const place of places(String(new Error().stack))) if (!place.file.startsWith(ours)) {
        if (Error.stackTraceLimit === depths[0]) known.set(key, place);
        return place;
      }
    return undefined;
  } finally {
    Error.stackTraceLimit = limit;
  }
}

/** Places by the innermost frames, as they were compiled: the same lines run for every layer, and source maps are slow. */
const known = new Map<string, SourcePos>();
/** As many frames as `callSite` looks at first, and this function's own. */
function rawFrames(): string {
  const { prepareStackTrace: prepare, stackTraceLimit: limit } = Error;
  try {
    Error.stackTraceLimit = depths[0]! + 1;
    Error.prepareStackTrace = (_error, sites) => sites.map((s) => `${s.getFileName()}:${s.getLineNumber()}:${s.getColumnNumber()}`).join();
    return String(new Error().stack);
  } finally {
    Error.prepareStackTrace = prepare;
    Error.stackTraceLimit = limit;
  }
}

/**
 * What an author's `forward` threw, as an error that names the author's place: an exception of the author's own code, or
 * one of ours over a value that is no tensor. UserErrors, other faults of ours and those of libraries stay as they are.
 */
export function authorError(e: unknown): unknown {
  if (e instanceof UserError || !(e instanceof Error)) return e;
  const all = [...places(String(e.stack))], [innermost] = all;
  if (!innermost) return e;
  if (!innermost.file.startsWith(ours)) return innermost.file.includes('/node_modules/') ? e : new UserError(`${e.name}: ${e.message}`, innermost, { cause: e });
  if (!(e instanceof TypeError && innermost.file.startsWith(dsl))) return e;
  return new UserError(`A value that is no tensor was given where one is needed (${e.message}).`, all.find((p) => !p.file.startsWith(ours)), { cause: e });
}
