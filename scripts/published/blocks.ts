import { rowsPerPicture } from '../../compiler/dsl/image-layout.ts';
import { memoryNeed } from '../../compiler/cost/memory.ts';
import { uniform } from '../../compiler/cost/storage.ts';
import { conventionNamed } from '../../passes/flops.ts';
import { countedProgram, fuseProgram } from '../../passes/cost-program.ts';
import { config, definition, flops, graphOf, parameterCount, scaled } from './ask.ts';
import type { Answer, Kind, Row, Section, Tolerance } from './row.ts';

/** Visual rows of one picture, as the graph takes them over from the tower. */
const visual = (check: string, published: number, model: string, kind: Kind = 'config'): Row => ({
  check, published, unit: 'tokens', kind, tolerance: 'exact', ours: async () => ({ value: rowsPerPicture(await graphOf(model)) ?? 0 }),
});
async function cachePerToken(): Promise<Answer> {
  const program = fuseProgram(countedProgram(await graphOf('vicuna-7b', 'self'), conventionNamed('exact')));
  const at = (T: number): bigint => memoryNeed(program, { dims: { V: 0, T } }, uniform(16)).kvCache;
  return { value: Number(at(2) - at(1)) };
}
const missing = (check: string, published: number, unit: string, kind: Kind, tolerance: Tolerance, why: string): Row => ({ check, published, unit, kind, tolerance, ours: { why } });

const depthwise = 'its blocks are depth-wise 3×3 convolutions with squeeze and excitation, and no op here is either.';
/** Parameters of a definition with experts, in billions. */
const experts = (check: string, published: number, kind: Kind, tolerance: Tolerance, model: string, matching: RegExp, note: string): Row =>
  ({ check, published, unit: 'Bparam', kind, tolerance, note, ours: async () => scaled(await parameterCount(definition(`experts.ts#${model}`), matching), 1e9) });
const recurrent = 'its time mixing is a recurrence over positions, and no op here is one.';

export const blocks: Section = {
  title: 'Projectors, adapters, experts, other blocks', source: 'the papers named in each row',
  rows: [
    { ...visual('visual length before merging', 2916, config('siglip-768'), 'printed'), note: 'TinyChart: SigLIP so400m at 768 px' },
    {
      check: 'DynamicViT-DeiT-S/0.7 at 224: keep 0.7, 0.49, 0.343 of 196 patches before blocks 3, 6, 9', published: 2.9, unit: 'GMAC', kind: 'printed', tolerance: { percent: 3.1 }, convention: 'flopcounter',
      ours: () => flops({ model: definition('dynamic-vit.ts'), convention: 'flopcounter' }, 2e9), note: 'two FLOPs are one MAC; the predictors are left out',
    },
    missing('LDPv2 parameter reduction of the convolutional part (2 inverted-residual blocks -> one 3x3 depth-wise conv), c=2048', 0.998, 'fraction', 'printed', { within: 0.0006 }, depthwise),
    missing('LDP total, 1024->2048', 18_936_832, 'parameters', 'counted', 'exact', depthwise),
    missing('LaVIN-7B trainable parameters (one router adapter per LLaMA layer and per CLIP layer, 1024->128->4096 visual adapter, 2 modality tokens)', 3.8, 'Mparam', 'printed', { within: 0.05 }, 'its adapters are grouped linear maps, each of half a row, mixed by a router, and no op here splits rows.'),
    {
      check: 'LoRA r=1 on Wq and Wv of GPT-3 175B', published: 4.7, unit: 'Mparam', kind: 'printed*', tolerance: { within: 0.05 },
      ours: async () => scaled(await parameterCount(definition('gpt-3-lora.ts'), /\.lora_[AB]\./), 1e6),
    },
    experts('MoE-LLaVA-2.7Bx4-Top2 activated parameters', 3.6, 'printed', { within: 0.065 }, 'MoeLlava', /^(?!.*\.experts\.[23]\.)/, 'the decoder with two of its four experts'),
    experts('MoE-LLaVA-2.7Bx4-Top2 total parameters', 5.3, 'printed*', { within: 0.065 }, 'MoeLlava', /(?:)/, 'the decoder, without tower and projector'),
    experts('GShard MoE(2048E,36L): 18 MoE FFNs of 1024x8192', 600, 'printed*', { percent: 3.5 }, 'GShard', /\.experts\./, 'the experts alone'),
    ...([['169m parameters', 169_300_000, 'parameters'], ['169m forward FLOPs per token', 261_300_000, 'FLOP'], ['3b parameters', 2_985_000_000, 'parameters'], ['3b forward FLOPs per token', 5_710_000_000, 'FLOP']] as const)
      .map(([check, published, unit]) => missing(`RWKV-4 ${check}`, published, unit, 'printed*', { percent: 0.04 }, recurrent)),
    { check: 'KV cache per token, LLaMA-7B fp16', published: 524_288, unit: 'byte', kind: 'derived', tolerance: 'exact', ours: cachePerToken },
    visual('visual tokens clip336', 576, 'llava-1.5-7b'), visual('visual tokens siglip384', 729, config('llava-siglip-384')), visual('visual tokens siglip980', 4900, config('llava-siglip-980')), visual('visual tokens smolvlm256m', 64, 'smolvlm-256m'),
  ],
};
