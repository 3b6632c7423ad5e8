import { definition, flops } from './ask.ts';
import type { Asked } from './ask.ts';
import type { Answer, Row, Section } from './row.ts';

const convention = 'calflops-linear';
/** The mean prompt of its benchmarks. */
const text = { tenths: 428 };
const tera = (asked: Omit<Asked, 'convention'>): Promise<Answer> => flops({ ...asked, convention }, 1e12);
const row = (check: string, published: number, within: number, ours: () => Promise<Answer>): Row => ({ check, published, unit: 'TFLOP', kind: 'printed', tolerance: { within }, convention, ours });

export const llavaMini: Section = {
  title: 'LLaVA-Mini', source: 'arXiv 2501.03895, tables 6 and 14; counted with calflops, 42.8 text rows on average',
  rows: [
    row('CLIP ViT-L/14-336 tower', 0.349, 0.0006, () => tera({ model: 'llava-1.5-7b', variant: 'self', visual: 576, of: 'vision' })),
    row('2-layer MLP projector, 576 rows', 0.024, 0.0006, () => tera({ model: 'llava-1.5-7b', variant: 'self', visual: 576, of: 'projector' })),
    row('Vicuna-7B, 576 visual tokens', 8.177, 0.001, () => tera({ model: 'vicuna-7b', variant: 'self', visual: 576, text })),
    row('LLaVA-v1.5-7B total', 8.55, 0.006, () => tera({ model: 'llava-1.5-7b', variant: 'self', visual: 576, text })),
    row('64 compressed visual tokens, no pre-fusion', 1.79, 0.012, () => tera({ model: definition('llava-mini.ts#Compressed'), visual: 576, dims: { C: 64 }, text })),
    row('1 visual token + 1 LLaMA-sized pre-fusion layers over 576+text rows', 1.21, 0.012, () => tera({ model: definition('llava-mini.ts#PreFused'), visual: 576, dims: { C: 1 }, text })),
  ],
};
