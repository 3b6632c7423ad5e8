import { flops } from './ask.ts';
import type { Row, Section } from './row.ts';

const row = (check: string, published: number, model: string, visual: number, variant: string, within = 0.06): Row => ({
  check, published, unit: 'TFLOP', kind: 'printed', tolerance: { within }, convention: 'shortv',
  ours: () => flops({ model, variant, visual, text: 64, convention: 'shortv' }, 1e12),
});
const seven = (check: string, published: number, variant: string, within?: number): Row => row(`LLaVA-1.5-7B ${check}`, published, 'llava-1.5-7b', 576, variant, within);
const next = (check: string, published: number, variant: string, within?: number): Row => row(`LLaVA-NeXT-13B ${check}`, published, 'llava-next-13b', 2880, variant, within);
/** The convention counts layers alike, so any as many layers do. */
const frozen = (layers: number): string => `shortv:layers=0-${layers - 1}`;

export const shortV: Section = {
  title: 'VTW, FastV and ShortV in one convention', source: 'ShortV, arXiv 2504.00502, tables 1, 2 and 11; 64 text rows',
  rows: [
    seven('vanilla', 8.5, 'self'), seven('VTW: all visual rows dropped before layer K', 4.7, 'vtw:k=16'), seven('FastV K=2 R=50%', 4.9, 'fastv:k=2,r=0.5'),
    ...([[4, 7.7], [8, 6.9], [12, 6.1], [16, 5.3], [19, 4.7], [20, 4.5], [24, 3.7], [28, 2.9]] as const).map(([n, published]) => seven(`ShortV with ${n} layers whose visual rows are frozen`, published, frozen(n), 0.075)),
    next('vanilla', 81.8, 'self'), next('VTW: all visual rows dropped before layer K', 41.7, 'vtw:k=20'), next('FastV K=2 R=50%', 42.1, 'fastv:k=2,r=0.5'),
    next('ShortV with 24 layers whose visual rows are frozen', 41, frozen(24), 0.075),
  ],
};
