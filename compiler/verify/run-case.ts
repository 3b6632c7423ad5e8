/** One case in one variant: prompt, values in between, caches, and the answer token by token. */
import type { Numbers } from './golden.ts';
import { readCache } from './caches.ts';
import type { Outputs } from './engine.ts';
import { segmentsOf } from './engine.ts';
import type { Golden, GoldenCase } from './golden.ts';
import type { PaddedPatches } from './native-pictures.ts';
import { padded } from './native-pictures.ts';
import { casePrompt } from './prompts.ts';
import type { Recorder } from './recorder.ts';
import type { TokensResult } from './report.ts';
import type { Tap } from './taps.ts';
import type { Prepared } from './verify.ts';

export interface CaseRun extends Prepared {
  readonly record: Recorder;
  readonly golden: Golden;
  readonly case: GoldenCase;
  readonly variant: string;
  readonly folder: string;
}

export async function runCase(run: CaseRun): Promise<TokensResult> {
  const { record, golden, case: c, variant } = run, at = { case: c.name, variant };
  const { items, made, patches } = await casePrompt(golden, c, run.folder, run.compiled.content.manifest);
  for (const [name, values] of made) await record.compare(name, values, { case: c.name });
  record.leave(`${c.name}.visual_embeds`, 'it is an input: the model is given these rows');

  const values = await run.tapped.prefill(items);
  for (const tap of run.taps) {
    const name = tap.ofVariant ? `${variant}.${tap.tensor}` : tap.tensor;
    if (golden.has(`${c.name}.${name}`)) await record.compare(name, await valuesOf(run, tap, values, made.get('segment_ids')!, patches && { of: patches, reference: () => golden.read(`${c.name}.${name}`) }), at);
  }

  const { generated: expected } = c.variants[variant]!, given: number[] = [], logits: number[] = [];
  let step = await run.plain.prefill(items);
  const main = run.compiled.content.manifest.sequences[0]!.kinds, segments = segmentsOf(items, main.find((k) => !k.media)!.name, main.find((k) => k.media)?.name ?? '');
  for (let i = 0; golden.has(`${c.name}.${variant}.k_cache.${i}`); i++) {
    const cache = await readCache(run.plain, run.compiled.entries.prefill!, `${run.decoder}.layers.${i}.self_attn`, segments);
    if (!cache) continue;
    await record.compare(`${variant}.k_cache.${i}`, cache.k, at);
    await record.compare(`${variant}.v_cache.${i}`, cache.v, at);
  }
  for (let s = 0; ; s++) {
    given.push(step.get('next')![0]!);
    logits.push(...step.get('logits')!);
    if (s === expected.length - 1) break;
    step = await run.plain.decode(expected[s]!);
  }
  await record.compare(`${variant}.decode_logits`, logits, at);
  record.done(`${c.name}.${variant}.generated`);
  return { ...at, expected, given, equal: expected.every((t, i) => t === given[i]) };
}

/** A tap's rows in the order of the prompt, or those of each image one after the other. */
async function valuesOf({ golden, case: c, imageEmbedding }: CaseRun, tap: Tap, outputs: Outputs, segmentIds: ArrayLike<number>, patches?: { readonly of: PaddedPatches; reference(): Promise<Numbers> }): Promise<ArrayLike<number>> {
  const { width } = tap, { sequence, kinds } = tap.node.type.rows!, none: Numbers = new Float32Array();
  const main = sequence.kinds.some((k) => !k.media);
  const of = (kind: string): Numbers => outputs.get(tap.outputs.get(kind) ?? '') ?? none;
  const text = sequence.kinds.find((k) => !k.media)?.name;
  if (patches && !main && sequence.kinds.some((k) => k.name === kinds[0] && !k.count.isConstant)) return padded(of(kinds[0]!), await patches.reference(), width, patches.of);
  if (!main || text === undefined || !kinds.includes(text)) return of(kinds[0]!);
  // The kind of the media rows; of a tap of text alone, the reference has the image token's row of the table in their place.
  const media = kinds.find((k) => k !== text);
  const given = `${c.name}.visual_embeds`;
  const visual = media === undefined ? undefined : tap.outputs.has(media) ? of(media) : golden.has(given) ? await golden.floats(given) : none;
  const words = of(text), out = new Float32Array(segmentIds.length * width);
  let atVisual = 0, atText = 0;
  for (let i = 0; i < segmentIds.length; i++) {
    if (segmentIds[i]! < 0) { out.set(words.subarray(atText * width, (atText + 1) * width), i * width); atText++; }
    else if (visual) { out.set(visual.subarray(atVisual * width, (atVisual + 1) * width), i * width); atVisual++; }
    else if (imageEmbedding) out.set(imageEmbedding, i * width);
  }
  return out;
}
