/** What a golden file says that takes no run of the model: pictures as decoded, masks, rotary frequencies. */
import { toPixels } from '../../runtime/image.ts';
import { decodeImage } from '../../runtime/node-image.ts';
import type { ModelSource } from '../load-model.ts';
import type { Traced } from '../frontend/trace.ts';
import { trace } from '../frontend/trace.ts';
import { predicate } from '../ir/mask/eval.ts';
import { hasText } from '../ir/layout.ts';
import { ropeFrequencies } from '../ir/ops/rope.ts';
import type { Token } from '../ir/ops/def.ts';
import type { Golden, GoldenCase } from './golden.ts';
import type { Recorder } from './recorder.ts';

/** `images.K.rgb`: the decoded picture files. */
export async function comparePictures(record: Recorder, golden: Golden): Promise<void> {
  const files = new Map(golden.description.cases.flatMap((c) => c.images.flatMap((k, i) => (c.image_files[i] === undefined ? [] : [[k, c.image_files[i]] as const]))));
  for (const [k, file] of files) await record.compare(`images.${k}.rgb`, toPixels(await decodeImage(golden.path(file), file), {}, file).data);
}

/** `rope.inv_freq` of the decoder. */
export async function compareRope(record: Recorder, { graph }: Traced): Promise<void> {
  const rope = graph.nodes.find((n) => n.op === 'rope');
  if (rope) await record.compare('rope.inv_freq', ropeFrequencies(rope.type.dims[0]! / Number(rope.attrs['heads']), rope.attrs));
}

/** `causal_mask` and `composite_mask`: the lowered predicates, evaluated over the case's positions. */
export async function compareMasks(record: Recorder, golden: Golden, c: GoldenCase, source: ModelSource): Promise<void> {
  for (const [name, variant] of [['causal_mask', 'self'], ['composite_mask', 'composite']] as const) {
    if (!golden.has(`${c.name}.${name}`) || record.has(`${c.name}.${name}`)) continue;
    const { graph } = trace(source.create(variant)), mask = [...graph.masks.values()].find((m) => hasText(m.sequence))!, allows = predicate(mask.expr);
    const text = mask.sequence.kinds.find((k) => !k.media)!.name, media = mask.sequence.kinds.find((k) => k.media)!.name;
    const tokens: Token[] = [];
    (await golden.read(`${c.name}.segment_ids`)).forEach((image, pos) => {
      const kind = image < 0 ? text : media, before = tokens.at(-1);
      tokens.push({ kind, pos, image, index: before?.kind === kind && before.image === image ? before.index + 1 : 0 });
    });
    await record.compare(name, tokens.flatMap((q) => tokens.map((k) => Number(allows(q, k)))), { case: c.name });
  }
}
