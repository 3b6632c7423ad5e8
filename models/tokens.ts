import type { KindsOf, Tensor } from 'eemllm';
import { sequence } from 'eemllm';

/** What the language models of this folder read: visual tokens and text, in any order. */
export const tokens = sequence('visual', 'text');
export type Tokens = KindsOf<typeof tokens>;
/** The residual stream. */
export type Hidden = Tensor<Tokens, 'hidden_size'>;
