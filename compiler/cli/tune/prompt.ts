/** The steps of a usual prompt as data: what the kernels of each entry point are told of rows, keys and sizes. */
import type { Segment } from '../../../runtime/context.ts';
import { rowData, spanData, towerSegments } from '../../../runtime/context.ts';
import type { EntryName, Manifest } from '../../../runtime/manifest.ts';
import { tilesDim } from '../../bundle/operands.ts';

export interface StepData {
  readonly dims: Readonly<Record<string, number>>;
  /** By sequence, as the runtime uploads them. */
  readonly rows: ReadonlyMap<string, Int32Array<ArrayBuffer>>;
  readonly spans: ReadonlyMap<string, Int32Array<ArrayBuffer>>;
}

/** `visual` media rows, in images of the usual size, then `text` rows: the step that `entry` is of such a prompt. */
export function stepData({ sequences, media: input }: Pick<Manifest, 'sequences' | 'media'>, entry: EntryName, { visual, text }: { visual: number; text: number }): StepData {
  const main = sequences[0]!, media = main.kinds.findIndex((k) => k.media), words = main.kinds.findIndex((k) => !k.media);
  const images: Segment[] = [], most = input?.rowsPerImage ?? visual;
  for (let at = 0; media >= 0 && at < visual; at += most) images.push({ kind: media, image: images.length, position: at, slot: at, length: Math.min(most, visual - at) });
  const before = media < 0 ? 0 : visual;
  const prompt: Segment[] = [...images, { kind: words, image: -1, position: before, slot: 0, length: text }];
  const token: Segment = { kind: words, image: -1, position: before + text, slot: text, length: 1 };
  const image = images.slice(0, 1);
  const [fresh, keys] = entry === 'decode' ? [[token], [...prompt, token]] : entry === 'prefill' || entry === 'first' ? [prompt, prompt] : [image, image];
  const dims: Record<string, number> = { [tilesDim]: 1 }, rows = new Map<string, Int32Array<ArrayBuffer>>(), spans = new Map<string, Int32Array<ArrayBuffer>>();
  const count = (segments: readonly Segment[], kind: number): number => segments.reduce((n, s) => n + (s.kind === kind ? s.length : 0), 0);
  main.kinds.forEach((k, i) => { if (k.dim) { dims[k.dim] = count(fresh, i); dims[`C${k.dim}`] = count(keys, i); } });
  for (const s of sequences) {
    const patches = Math.min(visual, ...s.kinds.map((k) => (k.dim ? k.capacity : Infinity))), tower = towerSegments(s, patches);
    if (s !== main) for (const { dim } of s.kinds) if (dim) dims[dim] = dims[`C${dim}`] = patches;
    const own = s === main ? { fresh, keys } : { fresh: tower, keys: tower };
    rows.set(s.name, rowData(s, own.fresh.map((segment) => ({ segment, from: 0, count: segment.length }))));
    spans.set(s.name, spanData(s, own.keys));
    dims[`spans_${s.name}`] = own.keys.length;
  }
  return { dims, rows, spans };
}
