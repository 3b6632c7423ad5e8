import { config, flops, parameterCount, scaled } from './ask.ts';
import type { Row, Section } from './row.ts';

const gflops = (check: string, published: number, model: string): Row => ({
  check, published, unit: 'GFLOP', kind: 'printed', tolerance: { within: 0.0051 }, convention: 'flopcounter', ours: () => flops({ model, convention: 'flopcounter' }, 1e9),
});
const millions = (check: string, published: number, model: string): Row => ({
  check, published, unit: 'Mparam', kind: 'printed', tolerance: { within: 0.0051 }, ours: async () => scaled(await parameterCount(model), 1e6),
});
const clip = (name: string, model: string, gigaflops: number, parameters: number): Row[] => [
  gflops(`${name} image tower — image flops`, gigaflops, config(model)), millions(`${name} image tower incl. output projection — params`, parameters, config(model)),
];

export const towers: Section = {
  title: 'Vision towers', source: 'open_clip, docs/model_profile.csv',
  rows: [
    ...clip('ViT-B-16', 'clip-vit-b-16-projection', 35.13, 86.19), ...clip('ViT-L-14', 'clip-vit-l-14-projection', 162.03, 303.97), ...clip('ViT-L-14-336', 'clip-vit-l-14-336-projection', 381.92, 304.29),
    gflops('ViT-SO400M-14-SigLIP-384 with attention-pooling head — image flops', 670.35, 'siglip-so400m-14-384'), millions('ViT-SO400M-14-SigLIP-384 — params', 428.23, 'siglip-so400m-14-384'),
  ],
};
