import { flops } from './ask.ts';
import type { Row, Section } from './row.ts';

const row = (check: string, published: number, variant: string): Row => ({
  check: `LLaVA-1.5-7B ${check}`, published, unit: 'TMAC', kind: 'printed', tolerance: { within: 0.006 }, convention: 'pdrop',
  ours: () => flops({ model: 'llava-1.5-7b', variant, visual: 576, convention: 'pdrop' }, 1e12),
});

export const pyramidDrop: Section = {
  title: 'PyramidDrop', source: 'arXiv 2410.17247, table 1; visual rows alone',
  rows: [
    row('vanilla', 3.82, 'self'), row('FastV K=2 R=50%', 2.01, 'fastv:k=2,r=0.5'),
    row('PDrop 4 stages x 8 layers, keep ratio 0.5 per stage', 1.78, 'pdrop:layers=8,16,24,keep=0.5'),
  ],
};
