/** Masks by name: who may attend to whom. Each works on every model over visual tokens and text. */
import { mask } from 'eemllm';
import { tokens } from './tokens.ts';

/** Each row reads every row up to itself: the decoder as it was trained ("self" in EE-MLLM's terms). */
export const causal = mask(tokens, (q, k) => k.pos <= q.pos);

/**
 * EE-MLLM's composite attention (arXiv 2408.11795): text reads everything up to itself, a visual row reads itself alone.
 * Its attention is then its own value, so projections and feed-forward are the aligner between the two modalities.
 */
export const composite = mask(tokens, (q, k) => (q.kind === 'text' ? k.pos <= q.pos : k.pos === q.pos));

/** Each row reads the `window` rows up to itself (Mistral's sliding window; arXiv 2004.05150). */
export const slidingWindow = (window: number) =>
  mask(tokens, (q, k, { window }) => k.pos <= q.pos && q.pos - k.pos < window, { window });

/**
 * Visual rows read their own image, all of it and nothing else; text reads every image before it and the `window`
 * positions up to itself.
 */
export const imageIslands = (window: number) =>
  mask(tokens, (q, k, { window }) =>
    q.kind === 'visual'
      ? k.kind === 'visual' && k.image === q.image
      : k.pos <= q.pos && (k.kind === 'visual' || q.pos - k.pos < window), { window });
