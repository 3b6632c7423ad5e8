/** Dead code: what no output needs, goes. */
import { sweep } from '../compiler/ir/builder.ts';
import type { Pass } from './pass.ts';

export const deadCode: Pass = {
  name: 'dead-code',
  proves: 'Every op, weight, input and state of the graph is needed by an output.',
  run: sweep,
};
