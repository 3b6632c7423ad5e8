import { definition, flops, ratio } from './ask.ts';
import type { Section } from './row.ts';

const convention = 'causal-half';
const llava = () => flops({ model: 'llava-1.5-13b', variant: 'self', visual: 576, convention }, 1e12);
/** 672×1008 px: six slices and the picture as a whole, 64 rows each. */
const uhd = () => flops({ model: definition('llava-uhd.ts'), visual: 7 * 64, images: 7, convention }, 1e12);

export const llavaUhd: Section = {
  title: 'LLaVA-UHD', source: 'arXiv 2403.11703, tables 1 to 3; Vicuna-13B, tower, projector and decoder',
  rows: [
    { check: 'LLaVA-1.5-13B one 336x336 image', published: 15.5, unit: 'TFLOP', kind: 'printed', tolerance: { percent: 1.2 }, convention, ours: llava },
    {
      check: '94% inference computation', published: 0.94, unit: 'fraction', kind: 'printed', tolerance: { within: 0.005 }, convention, ours: async () => ratio(await uhd(), await llava()),
      note: 'the resampler is taken as one cross-attention at the width of the decoder, with keys and values straight from the tower',
    },
  ],
};
