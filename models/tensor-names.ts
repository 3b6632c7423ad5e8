/**
 * Newer releases of the `transformers` library save the same models under other tensor names. The definitions here carry the older
 * names, which the published checkpoints have; this maps them to what a file holds.
 */

/** Prefixes of the older layout and of the newer one (`LlavaForConditionalGeneration` and its kin since 4.52), in the order they are tried. */
const layouts: readonly (readonly (readonly [older: string, newer: string])[])[] = [
  [],
  [
    ['language_model.model.', 'model.language_model.'],
    ['language_model.lm_head.', 'lm_head.'],
    ['vision_tower.', 'model.vision_tower.'],
    ['multi_modal_projector.', 'model.multi_modal_projector.'],
    ['image_newline', 'model.image_newline'],
  ],
];

/**
 * The name under which a checkpoint holds the tensor that a definition calls `wanted`; undefined if it holds none.
 * `resolveTensorName(names, 'language_model.lm_head.weight')` is `lm_head.weight` in the newer layout.
 */
export function resolveTensorName(available: { has(name: string): boolean }, wanted: string): string | undefined {
  for (const prefixes of layouts) {
    const found = prefixes.find(([older]) => wanted.startsWith(older));
    const name = found ? found[1] + wanted.slice(found[0].length) : wanted;
    if (available.has(name)) return name;
  }
  return undefined;
}

/** Tensors that older files hold beside the parameters, and that are computed: positions and rotary frequencies. */
export const isComputedTensor = (name: string): boolean => /(^|\.)(position_ids|rotary_emb\.inv_freq|masked_bias)$/.test(name);
