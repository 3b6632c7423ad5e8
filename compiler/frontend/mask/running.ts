/**
 * Functions as they run: where one stands in the author's source, and what it captured.
 *
 * JavaScript itself can tell neither. V8's inspector can, from within the same thread and at once: a function has an
 * internal `[[FunctionLocation]]`, which the script's source map takes back to what the author wrote, and `[[Scopes]]`
 * with the variables it closes over. So a mask made by a factory is read with the values of that very call.
 */
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SourcePos } from '../../ir/errors.ts';

export type RunningFunction = (...args: never[]) => unknown;

/** The few parts of V8's answers that are used. */
interface Remote { readonly objectId?: string; readonly value?: unknown; readonly unserializableValue?: string; readonly description?: string }
interface Property { readonly name: string; readonly value?: Remote }
interface Properties { readonly result: readonly Property[]; readonly internalProperties?: readonly Property[] }
interface Location { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber?: number }
interface Script { readonly scriptId: string; readonly url: string; readonly sourceMapURL?: string }

/** Where the handle of an object is passed to the inspector, which evaluates in the global scope. */
const handle = '__eemllm_inspected__';

let current: Inspector | undefined;
/**
 * The inspector, for use at once and not later: it closes by itself when the current turn of the event loop ends.
 * Opening it takes some ten milliseconds, and the masks of a model are read in one turn. Undefined where Node has none.
 */
export const inspector = (): Inspector | undefined => {
  if (current) return current;
  try { current = new Inspector(); } catch { return undefined; }
  setImmediate(() => { current?.close(); current = undefined; });
  return current;
};

/** A session with the inspector. While it is open, V8 keeps debug information. */
export class Inspector {
  private readonly session = new Session();
  private readonly scripts = new Map<string, Script>();
  private readonly maps = new Map<Script, SourceMap | null>();
  private readonly scopes = new Map<RunningFunction, Map<string, Remote>>();

  constructor() {
    this.session.connect();
    this.session.on('Debugger.scriptParsed', ({ params }: { params: object }) => { const s = params as Script; this.scripts.set(s.scriptId, s); });
    this.post('Debugger.enable');
  }
  close(): void { this.session.disconnect(); }

  /** Where the function begins in the source that the author wrote, or undefined if that cannot be told. */
  locate(fn: RunningFunction): SourcePos | undefined {
    const found = this.propertiesOf(fn).internalProperties?.find((p) => p.name === '[[FunctionLocation]]')?.value?.value as Location | undefined;
    const script = found && this.scripts.get(found.scriptId);
    if (!found || !script?.url.startsWith('file:')) return undefined;
    const file = fileURLToPath(script.url.replace(/[?#].*$/, ''));
    const [line, column] = [found.lineNumber, found.columnNumber ?? 0]; // both from 0
    let map = this.maps.get(script);
    if (map === undefined) this.maps.set(script, (map = sourceMap(script.sourceMapURL ?? '', file)));
    if (!map) return this.runsAsWritten(script, file) ? { file, line: line + 1, column: column + 1 } : undefined;
    const entry = map.findEntry(line, column);
    if (!('originalSource' in entry)) return undefined;
    const source = entry.originalSource.startsWith('file:') ? fileURLToPath(entry.originalSource) : resolve(dirname(file), map.payload.sourceRoot ?? '', entry.originalSource);
    return { file: source, line: entry.originalLine + 1, column: entry.originalColumn + 1 };
  }

  /** The value of a variable that the function captured; undefined if it captured none of that name. */
  captured(fn: RunningFunction, name: string): { readonly value: unknown } | undefined {
    let variables = this.scopes.get(fn);
    if (!variables) this.scopes.set(fn, (variables = this.variablesOf(fn)));
    const found = variables.get(name);
    if (!found) return undefined;
    const { objectId, value, unserializableValue } = found;
    const box: { value?: unknown } = {};
    const argument = objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value };
    this.post('Runtime.callFunctionOn', { objectId: this.handleOf(box), functionDeclaration: 'function (x) { this.value = x; }', arguments: [argument] });
    return { value: box.value };
  }

  private variablesOf(fn: RunningFunction): Map<string, Remote> {
    const variables = new Map<string, Remote>();
    const scopes = this.propertiesOf(fn).internalProperties?.find((p) => p.name === '[[Scopes]]')?.value?.objectId;
    if (!scopes) return variables;
    for (const scope of (this.post('Runtime.getProperties', { objectId: scopes, ownProperties: true }) as Properties).result) {
      if (!scope.value?.objectId || scope.value.description === 'Global') continue;
      const { result } = this.post('Runtime.getProperties', { objectId: scope.value.objectId, ownProperties: true }) as Properties;
      for (const { name, value } of result) if (value && !variables.has(name)) variables.set(name, value); // the innermost counts
    }
    return variables;
  }

  private propertiesOf(fn: RunningFunction): Properties {
    return this.post('Runtime.getProperties', { objectId: this.handleOf(fn), ownProperties: true }) as Properties;
  }

  private handleOf(object: object): string {
    const global = globalThis as Record<string, unknown>;
    global[handle] = object;
    try {
      return (this.post('Runtime.evaluate', { expression: `globalThis.${handle}` }) as { result: { objectId: string } }).result.objectId;
    } finally {
      delete global[handle];
    }
  }

  /** A script without a source map is its own source, unless something has translated it on the way. */
  private runsAsWritten(script: Script, file: string): boolean {
    const { scriptSource } = this.post('Debugger.getScriptSource', { scriptId: script.scriptId }) as { scriptSource: string };
    try { return readFileSync(file, 'utf8') === scriptSource; } catch { return false; }
  }

  /** Within a thread the inspector answers before `post` returns. */
  private post(method: string, params: object = {}): unknown {
    let answer: unknown; let failure: Error | null = null;
    this.session.post(method, params, (error: Error | null, result?: object) => { failure = error; answer = result; });
    if (failure) throw new Error(`The inspector refused ${method}.`, { cause: failure });
    return answer;
  }
}

const sourceMap = (url: string, file: string): SourceMap | null => {
  if (!url) return null;
  try {
    const inline = /^data:application\/json[^,]*?(;base64)?,(.*)$/s.exec(url);
    const text = inline ? (inline[1] ? Buffer.from(inline[2]!, 'base64').toString() : decodeURIComponent(inline[2]!)) : readFileSync(resolve(dirname(file), url), 'utf8');
    return new SourceMap(JSON.parse(text));
  } catch {
    return null;
  }
};
