import { flops, parameterCount, saving } from './ask.ts';
import type { Row, Section } from './row.ts';

const decoder = (attention: 'self' | 'composite', visual: number, text: number, published: number): Row => ({
  check: `LLM-only prefill FLOPs, ${attention === 'self' ? 'dense' : 'composite'} attention, ${visual} visual + ${text} text`, published, unit: 'FLOP', kind: 'derived', tolerance: 'exact', convention: 'dense',
  ours: () => flops({ model: 'llava-1.5-7b', variant: attention, visual, text, convention: 'dense', of: 'decoder' }),
});

export const eeMllm: Section = {
  title: 'EE-MLLM', source: 'arXiv 2408.11795',
  rows: [
    decoder('self', 576, 40, 8_177_382_850_560), decoder('composite', 576, 40, 7_372_881_788_928),
    decoder('self', 4900, 0, 76_053_007_564_800), decoder('composite', 4900, 0, 58_203_517_747_200),
    {
      check: 'FLOPs reduction of composite attention vs self-attention at 980x980 (4900 tokens)', published: 0.24, unit: 'fraction', kind: 'quoted', tolerance: { within: 0.01 }, convention: 'dense',
      ours: async () => saving(await flops({ model: 'llava-1.5-7b', variant: 'composite', visual: 4900, convention: 'dense', of: 'decoder' }), await flops({ model: 'llava-1.5-7b', variant: 'self', visual: 4900, convention: 'dense', of: 'decoder' })),
    },
    {
      check: 'extra parameters of composite attention', published: 0, unit: 'parameters', kind: 'printed', tolerance: 'exact',
      // A variant changes what is computed, and is made of the same weights.
      ours: async () => ({ value: (await parameterCount('models/ee-mllm.ts#EeMllm')).value - (await parameterCount('llava-1.5-7b')).value }),
    },
  ],
};
