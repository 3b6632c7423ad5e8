/** The rows of an image in the visual memory as bytes: what `vision` leaves in the states, copied out and in again. */
import { regionStarts } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { BufferDecl, Manifest, Target } from './manifest.ts';
import type { Program } from './program.ts';
import { Readback } from './readback.ts';

export type StateDecl = Extract<BufferDecl, { kind: 'state' }>;
/** A state that holds rows of images: those of the media kind begin at slot `start`. */
export interface VisualState { readonly name: string; readonly decl: StateDecl; readonly start: number }
/** Rows by the name of their state, one after the other. */
export type SavedRows = ReadonlyMap<string, Uint8Array>;

export function visualStates({ buffers }: Target, { media, sequences }: Manifest): VisualState[] {
  const main = sequences[0]!, at = main.kinds.findIndex((k) => k.name === media?.kind);
  if (at < 0) return [];
  return Object.entries(buffers).flatMap(([name, decl]): VisualState[] =>
    (decl.kind === 'state' && decl.sequence === main.name && decl.kinds.includes(main.kinds[at]!.name) ? [{ name, decl, start: regionStarts(main)[at]! }] : []));
}

/** Copies begin and end on whole words. */
function checkWords({ name, decl }: VisualState): void {
  if (decl.rowBytes % 4) throw new RuntimeError('value', `A row of ${name} takes ${decl.rowBytes} bytes, and only whole words of 4 can be copied. Compile with --kv f32 or --kv int8 to save the visual memory.`);
}

/** The `rows` rows from slot `slot` of the media region on, state by state. */
export async function* readRows(program: Program, states: readonly VisualState[], slot: number, rows: number): AsyncGenerator<readonly [VisualState, Uint8Array<ArrayBuffer>]> {
  states.forEach(checkWords);
  const readback = new Readback(program.device, Math.max(...states.map((s) => s.decl.rowBytes * rows)));
  try {
    for (const state of states) {
      const { name, start, decl: { rowBytes } } = state;
      yield [state, new Uint8Array(await readback.read(program.buffer(name), (start + slot) * rowBytes, rows * rowBytes))];
    }
  } finally {
    readback.destroy();
  }
}

/** Puts saved rows at slot `slot` of the media region. */
export function writeRows(program: Program, manifest: Manifest, saved: SavedRows, slot: number, rows: number): void {
  for (const state of visualStates(program.target, manifest)) {
    checkWords(state);
    const { name, start, decl: { rowBytes } } = state, bytes = saved.get(name);
    if (bytes?.byteLength !== rows * rowBytes) throw new RuntimeError('value', `An image's saved memory has ${bytes ? `${bytes.byteLength} bytes` : 'nothing'} for ${name}, which holds ${rows} rows of it in ${rows * rowBytes} bytes. Load it with Model.loadMemory.`);
    program.device.queue.writeBuffer(program.buffer(name), (start + slot) * rowBytes, bytes as Uint8Array<ArrayBuffer>);
  }
}
