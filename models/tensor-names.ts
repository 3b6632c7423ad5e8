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
  return namesOf(wanted).flatMap((name) => [name, name.replace(/\.block_sparse_moe\.gate\./, '.mlp.gate.')]).find((name) => available.has(name));
}

/** The name in each layout. */
const namesOf = (wanted: string): string[] => layouts.map((prefixes) => {
  const found = prefixes.find(([older]) => wanted.startsWith(older));
  return found ? found[1] + wanted.slice(found[0].length) : wanted;
});

/** Matrices of one tensor: `parts` stand one below the other for each of several things, and this is part `part` of thing number `index`. */
export interface StackedTensor { readonly name: string; readonly index: number; readonly part: number; readonly parts: number }

/**
 * Since 5.0 the library keeps the matrices of all experts of a layer in one tensor, gate above up for each expert. What of them a definition calls
 * `wanted`; undefined if it is no expert's, or the checkpoint has no such tensor.
 */
export function resolveStacked(available: { has(name: string): boolean }, wanted: string): StackedTensor | undefined {
  for (const name of namesOf(wanted)) {
    const [, layer, index, own] = /^(.*)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight$/.exec(name) ?? [];
    if (layer === undefined) return undefined;
    const stacked = `${layer}.mlp.experts.${own === 'w2' ? 'down_proj' : 'gate_up_proj'}`;
    if (available.has(stacked)) return { name: stacked, index: Number(index), part: own === 'w3' ? 1 : 0, parts: own === 'w2' ? 1 : 2 };
  }
  return undefined;
}

/** Tensors that older files hold beside the parameters, and that are computed: positions and rotary frequencies. */
export const isComputedTensor = (name: string): boolean => /(^|\.)(position_ids|rotary_emb\.inv_freq|masked_bias)$/.test(name);
