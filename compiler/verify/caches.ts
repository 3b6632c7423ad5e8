/**
 * The KV cache as the reference has it: `[kv_heads, positions, head_dim]` in the order of the prompt, keys after RoPE.
 *
 * States hold rows kind after kind. Keys of images may be rotated by their place within the image (pass relative-rope);
 * turning them by the image's position makes them the reference's.
 */
import type { Graph } from '../ir/graph.ts';
import type { Attrs } from '../ir/graph.ts';
import type { Segment } from '../ir/layout.ts';
import { ropeFrequencies, rotate } from '../ir/ops/rope.ts';
import type { Engine } from './engine.ts';

export interface Cache { readonly k: Float32Array; readonly v: Float32Array }

/** The cache of the layer whose attention stands at `path`; undefined where the program keeps none for all of its rows. */
export async function readCache(engine: Engine, prefill: Graph, path: string, segments: readonly Segment[]): Promise<Cache | undefined> {
  const attentions = prefill.nodes.filter((n) => n.op === 'attention' && n.path === path), state = prefill.states.get(`${path}.k`);
  if (!attentions.length || !state) return undefined;
  const heads = Number(attentions[0]!.attrs['kv_heads']), headDim = state.type.dims[0]! / heads;
  const k = await engine.state(`${path}.k`, headDim), v = await engine.state(`${path}.v`);
  if (segments.some((s) => !k.has(s.kind) || !v.has(s.kind))) return undefined;
  const relative = attentions.flatMap((n) => n.attrs['relative'] ?? [])[0] as (Attrs & { kinds: readonly string[] }) | undefined;
  const frequencies = relative && ropeFrequencies(headDim, relative);
  const turn = (row: Float32Array, segment: Segment, origin: number): void => {
    if (!frequencies || !relative.kinds.includes(segment.kind)) return;
    for (let h = 0; h < heads; h++) rotate(row.subarray(h * headDim, (h + 1) * headDim), origin, frequencies);
  };
  return { k: byHead(k, segments, heads, headDim, turn), v: byHead(v, segments, heads, headDim) };
}

function byHead(rows: ReadonlyMap<string, Float32Array>, segments: readonly Segment[], heads: number, headDim: number, change?: (row: Float32Array, s: Segment, origin: number) => void): Float32Array {
  const count = segments.reduce((n, s) => n + s.length, 0), width = heads * headDim, out = new Float32Array(count * width), read = new Map<string, number>();
  let position = 0;
  for (const s of segments) {
    const origin = position;
    for (let i = 0; i < s.length; i++, position++) {
      const at = read.get(s.kind) ?? 0, row = rows.get(s.kind)!.slice(at * width, (at + 1) * width);
      read.set(s.kind, at + 1);
      change?.(row, s, origin);
      for (let h = 0; h < heads; h++) out.set(row.subarray(h * headDim, (h + 1) * headDim), (h * count + position) * headDim);
    }
  }
  return out;
}
