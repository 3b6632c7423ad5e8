/** What the definition of a model with tiles answers on the interpreter, from the very images that a device is given. */
import type { Model } from 'eemllm';
import type { Layout, Segment } from '../../compiler/ir/index.ts';
import { interpret } from '../../compiler/ir/index.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Checkpoint } from '../../compiler/bundle/checkpoint.ts';
import type { PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';

export type Weights = ReadonlyMap<string, Float32Array>;

/** All tensors of a checkpoint, by the model's names of them. */
export async function weightsOf(model: Model, { files, nameOf }: { readonly files: Checkpoint; readonly nameOf: (p: string) => string }): Promise<Weights> {
  const { graph } = trace(model), out = new Map<string, Float32Array>();
  for (const name of graph.weights.keys()) { const { shape } = files.entry(nameOf(name))!; out.set(name, await files.rows(nameOf(name), 0, shape[0]!)); }
  return out;
}

/** Logits of the prompt's last token. */
export function tiledLogits(model: Model, items: readonly PromptItem[], weights: Weights): Float32Array {
  const { graph } = trace(model), images = items.filter(isImage), firsts = images.map((_, i) => images.slice(0, i).reduce((n, x) => n + (x.tiles ?? 1), 0));
  let image = 0;
  // Tiles of one image are numbered apart from images; where the image is one picture, they are one and the same.
  const towers = [...graph.sequences.values()].filter((s) => s.kinds.every((k) => k.media));
  const layout: Layout = {
    ...Object.fromEntries(towers.map((s) => [s.name, images.flatMap((x, i) => Array.from({ length: x.tiles ?? 1 }, (_, t) => (x.sources ? 1000 + firsts[i]! + t : i))
      .flatMap((number) => s.kinds.map((k): Segment => ({ kind: k.name, image: number, length: k.count.constant() ?? x.positions!.length }))))])),
    tokens: items.map((x): Segment => (isImage(x) ? { kind: 'visual', image: image++, length: x.rows } : { kind: 'text', length: 1 })),
  };
  const rowsPerTile = towers.find((s) => s.name === 'patches')?.kinds.find((k) => k.name === 'patch')!.count.constant() ?? 0;
  const given: Readonly<Record<string, readonly number[]>> = {
    pixels: images.flatMap((i) => [...i.data]), pixels_positions: images.flatMap((i) => [...(i.positions ?? [])]), ids: items.filter((x): x is number => !isImage(x)),
    visual_rows: images.flatMap((image, i) => [...(image.sources?.sources ?? [])].map((row) => (row < 0 ? row : row + firsts[i]! * rowsPerTile))),
    visual_rows_weights: images.flatMap((image) => [...(image.sources?.weights ?? [])]),
  };
  const inputs = Object.fromEntries([...graph.inputs.keys()].map((name) => [name, given[name]!]));
  return Float32Array.from(interpret(graph, { layout, inputs, weights }).outputs.get('logits')!.data);
}
