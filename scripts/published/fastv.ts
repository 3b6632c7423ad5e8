import { flops } from './ask.ts';
import type { Row, Section } from './row.ts';

/** Eq. 5 with 36 rows of text, which the 13B column takes to the printed digit. */
const row = (size: '7b' | '13b', k: number | undefined, percent: number, published: number): Row => ({
  check: `vicuna-${size} ${k === undefined ? 'baseline per-layer MACs' : `FastV K=${k} R=${percent}%`}`, published, unit: 'GMAC', kind: 'printed', convention: 'fastv',
  // The 7B column is rough by up to 1.1 %.
  tolerance: size === '13b' ? { within: 0.06 } : { percent: k === undefined ? 0.2 : 1.2 },
  ours: () => flops({ model: `llava-1.5-${size}`, variant: k === undefined ? 'self' : `fastv:k=${k},r=${percent / 100}`, visual: 576, text: 36, convention: 'fastv' }, 1e9),
});

export const fastV: Section = {
  title: 'FastV', source: 'arXiv 2403.06764, eq. 5 and table 1; 576 visual and 36 text rows, mean over the layers',
  rows: [
    row('13b', undefined, 0, 154.6),
    row('13b', 2, 90, 29.7), row('13b', 2, 75, 50.2), row('13b', 2, 50, 84.6), row('13b', 5, 90, 39.6), row('13b', 5, 75, 58.4), row('13b', 5, 50, 90.1),
    row('7b', undefined, 0, 99.3), row('7b', 2, 90, 19.9), row('7b', 2, 75, 32.8), row('7b', 2, 50, 54.6),
  ],
};
