/**
 * What memory a program needs at given sizes: weights, KV cache and visual memory for as long as the conversation lasts, and
 * for each step the arena that the compiler's own plan lays its values out in (compiler/schedule/memory.ts).
 *
 * Sizes are those of the conversation itself: a bundle keeps room for its limits (`--max-visual`, `--max-text`) instead. Not
 * counted are what is the same for all sizes and small: uniforms, row data, tables of angles.
 */
import type { Graph, Node } from '../ir/graph.ts';
import { leafName } from '../ir/graph.ts';
import type { Program } from '../ir/program.ts';
import { sequenceKind } from '../ir/rows.ts';
import { isVirtual, planMemory } from '../schedule/memory.ts';
import { isView } from './parts.ts';
import type { RunSizes } from './program-cost.ts';
import type { Dims } from './resolve.ts';
import type { Storage } from './storage.ts';
import { bytesOf } from './traffic.ts';

/** Values of the arena that are alive at one step of an entry point's plan. */
export interface MemoryStep {
  /** Module path, and what is computed there. */
  readonly path: string;
  readonly op: string;
  /** Bytes of all values alive while it runs: read by it or by a later step, or written by it. */
  readonly live: number;
}
export interface EntryMemory {
  readonly entry: string;
  /** Bytes of the arena, gaps between values included. */
  readonly arena: number;
  /** The steps of the plan in order. `live` never exceeds the arena. */
  readonly steps: readonly MemoryStep[];
}
export interface MemoryNeed {
  /** Bytes of all weights that some entry point reads, each once. */
  readonly weights: bigint;
  /** Rows that `prefill` and `decode` leave in states, at the end of the conversation. */
  readonly kvCache: bigint;
  /** Rows that `vision` leaves in states, read again by later prompts about the image; of `tile`, those of one image's tiles. */
  readonly visualMemory: bigint;
  readonly entries: readonly EntryMemory[];
  /** The largest arena of all entry points: they share one. */
  readonly arena: number;
  /** All of it at once, at the step that needs most. */
  readonly peak: bigint;
}

/**
 * Bytes that a program of fused graphs needs for a prompt (`V`, `T`), its images and `generate` tokens after it. `storage`
 * says how wide weights and states lie; values of the arena are as wide as their types say, as they are compiled.
 */
export function memoryNeed(fused: Program, { dims, images = 1, tiles = images, generate = 0 }: RunSizes, storage?: Storage): MemoryNeed {
  const graphs = [...fused.graphs], weights = new Map(graphs.flatMap(([, g]) => [...g.weights]));
  const pictures = Math.ceil(tiles / Math.max(1, images)), byTile = fused.graphs.has('tile');
  const all: Dims = { ...contextAt(graphs.map(([, g]) => g), dims, { media: 1, text: generate, fresh: true }), tiles: pictures };
  const states = stateRows(graphs, storage, all);
  const entries = graphs.map(([entry, g]) => entryMemory(entry, g, contextAt([g], dims, ofEntry(entry, images, generate)), byTile ? 1 : pictures));
  const held = [...weights.values()].reduce((sum, w) => sum + bytesOf(w, storage).evaluate({}), 0n), arena = Math.max(0, ...entries.map((e) => e.arena));
  return { weights: held, ...states, entries, arena, peak: held + states.kvCache + states.visualMemory + BigInt(arena) };
}

/** `tile` sees one tile of an image a step, `vision` one image, `decode` reads one token a step, the last of them with the longest context. */
interface When { readonly media: number; readonly text: number; readonly fresh: boolean; readonly only?: 'media' | 'text' }
const ofEntry = (entry: string, images: number, generate: number): When =>
  (entry === 'vision' || entry === 'tile' ? { media: Math.max(1, images), text: 0, fresh: true, only: 'media' } : entry === 'decode' ? { media: 1, text: generate, fresh: false, only: 'text' } : { media: 1, text: 0, fresh: true });

/** Dims of a step: its new rows, and with `C` before the name those of the conversation so far. */
function contextAt(graphs: Iterable<Graph>, dims: Dims, { media, text, fresh, only }: When): Dims {
  const out: Record<string, number | bigint> = { ...dims };
  for (const g of graphs) for (const s of g.sequences.values()) for (const k of s.kinds) for (const v of k.count.variables) {
    if (!(v in dims)) continue;
    const rows = Number(dims[v]), share = k.media ? Math.ceil(rows / media) : rows;
    out[v] = only === undefined || only === (k.media ? 'media' : 'text') ? (fresh ? share : 1) : 0;
    out[`C${v}`] = k.media ? rows : rows + text;
  }
  return out;
}

function entryMemory(entry: string, g: Graph, dims: Dims, pictures: number): EntryMemory {
  const plan = planMemory(g, dims as Readonly<Record<string, number>>, {}, pictures);
  const change = new Float64Array(g.nodes.length + 2);
  for (const a of plan.allocations) { change[a.first]! += a.bytes; change[a.last + 1]! -= a.bytes; }
  let live = 0;
  const steps = g.nodes.flatMap((n, i): MemoryStep[] => {
    live += change[i]!;
    return isVirtual(n) || n.op === 'result' || isView(n) ? [] : [{ path: n.path, op: labelOf(n), live }];
  });
  return { entry, arena: plan.bytes, steps };
}
/** The linears of a fused node, or its ops. */
function labelOf(n: Node): string {
  if (!n.body) return n.op;
  const named = n.body.nodes.filter((m) => m.op === 'linear').map((m) => m.path.split('.').at(-1)!);
  return [...new Set(named.length ? named : n.body.nodes.map((m) => m.op))].join('+');
}

/** Entry points whose rows of images are known with the image: `first` computes what `vision` does, besides text. */
const ofImages = new Set(['tile', 'vision', 'first']);

/** Bytes of the states, apart by who writes the rows: `vision` or a later entry point. */
function stateRows(graphs: readonly (readonly [string, Graph])[], storage: Storage | undefined, dims: Dims): { kvCache: bigint; visualMemory: bigint } {
  const states = new Map(graphs.flatMap(([, g]) => [...g.states])), ofVision = new Map<string, Set<string>>();
  for (const [entry, g] of graphs) if (ofImages.has(entry)) for (const n of g.nodes) for (const store of n.body?.nodes ?? [n]) {
    if (store.op !== 'store') continue;
    const name = String(store.attrs['state']), kinds = ofVision.get(name) ?? new Set();
    for (const k of store.inputs[1]!.type.rows!.kinds) kinds.add(k);
    ofVision.set(name, kinds);
  }
  let kvCache = 0n, visualMemory = 0n;
  for (const state of states.values()) for (const kind of state.type.rows!.kinds) {
    const rows = { ...state.type.rows!, kinds: [kind] }, size = bytesOf({ ...state, type: { ...state.type, rows } }, storage).evaluate(dims);
    if (sequenceKind(rows.sequence, kind).media && ofVision.get(leafName(state))?.has(kind)) visualMemory += size; else kvCache += size;
  }
  return { kvCache, visualMemory };
}
