import { config, parameterCount, scaled } from './ask.ts';
import type { Row, Section } from './row.ts';

const exact = (check: string, published: number, model: string, matching?: RegExp): Row =>
  ({ check, published, unit: 'parameters', kind: 'counted', tolerance: 'exact', ours: () => parameterCount(model, matching) });

export const parameterCounts: Section = {
  title: 'Exact parameter counts', source: 'the published config.json files, instantiated',
  rows: [
    exact('Vicuna-7B-v1.5', 6_738_415_616, 'vicuna-7b'),
    exact('CLIPVisionModel ViT-L/14-336 (no output projection)', 303_507_456, 'clip-vit-l-14-336'),
    exact('SiglipVisionModel so400m-patch14-384 with pooling head', 428_225_600, 'siglip-so400m-14-384'),
    exact('so400m-patch14-384 without pooling head', 412_987_248, config('siglip-so400m-14-384-headless')),
    exact('LLaVA-1.5 projector 1024->4096->4096', 20_979_712, 'llava-1.5-7b', /^multi_modal_projector\./),
    exact('LLaVA-1.5-7B, vocab 32000, with CLIP tower', 7_062_902_784, 'llava-1.5-7b'),
    exact('LLaVA-1.5-7B checkpoint without tower', 6_759_395_328, 'llava-1.5-7b', /^(?!vision_tower\.)/),
    exact('Qwen2-0.5B (tied, qkv bias)', 494_032_768, 'qwen2-0.5b'),
    exact('Llama-3-8B', 8_030_261_248, 'llama-3-8b'),
    exact('TinyLlama-1.1B', 1_100_048_384, 'tinyllama-1.1b'),
    exact('SmolLM2-135M (tied)', 134_515_008, 'smollm2-135m'),
    exact('SmolVLM-256M (untied head, vision 512/16, pixel-shuffle 4, connector without bias)', 256_484_928, 'smolvlm-256m'),
    exact('Phi-2 (parallel block, biases everywhere)', 2_779_683_840, 'phi-2'),
    {
      check: 'Mamba-2.8B (tied, d_inner 5120, state 16, conv 4, dt_rank 160)', published: 2_768_345_600, unit: 'parameters', kind: 'counted', tolerance: 'exact',
      ours: { why: 'there is no definition of Mamba: it needs a selective scan and a causal depth-wise convolution, and no op here is either.' },
    },
    exact('BLIP-2 Q-Former, query path only (HF Blip2QFormerModel, encoder width 1408)', 105_137_664, config('blip-2-qformer')),
    {
      check: 'Q-Former incl. text FFNs and word embeddings', published: 188, unit: 'Mparam', kind: 'printed*', tolerance: { percent: 1.5 },
      ours: async () => scaled(await parameterCount(config('qformer-with-text')), 1e6),
    },
  ],
};
