/**
 * Online softmax (Milakov and Gimelshein, arXiv 1805.02867) over the scores of one key block, row by row in workgroup
 * memory: `highest` and `total` are the maximum and the sum of weights so far, `correction` is what sums of earlier
 * blocks are multiplied by. A row that was given no key yet keeps the maximum `lowest` and the sum 0.
 */
import { lowest } from './attention-context.ts';
import type { TileContext } from './attention-tile-context.ts';

export function softmax(x: TileContext): string {
  return x.tile.softmaxLanes === 1 ? byRow(x) : byRowAndLane(x);
}

const exponentials = (x: TileContext, first: string, step: number): string => `var sum = 0.0;
        for (var j = ${first}; j < n; j += ${step}u) {
          let s = ${x.score('j', 'row')};
          let p = select(0.0, exp2(s - high), s > ${lowest});
          ${x.score('j', 'row')} = p;
          sum += p;
        }
        let c = exp2(before - high);`;

/** One invocation a row. */
const byRow = (x: TileContext): string => `
      for (var row = t; row < ${x.tile.rows}u; row += ${x.tile.invocations}u) {
        let before = highest[row];
        var high = before;
        for (var j = 0u; j < n; j++) { high = max(high, ${x.score('j', 'row')}); }
        ${exponentials(x, '0u', 1)}
        highest[row] = high;
        correction[row] = c;
        total[row] = total[row] * c + sum;
      }
      workgroupBarrier();`;

/** Several invocations a row: each keeps a sum of its own, and all agree on the maximum. */
function byRowAndLane(x: TileContext): string {
  const lanes = x.tile.softmaxLanes;
  return `
      let row = t / ${lanes}u;
      let has_row = row < ${x.tile.rows}u;
      var before = ${lowest};
      var high = ${lowest};
      if (has_row) {
        before = highest[row];
        high = before;
        for (var j = t % ${lanes}u; j < n; j += ${lanes}u) { high = max(high, ${x.score('j', 'row')}); }
        maxima[t] = high;
      }
      workgroupBarrier();
      if (has_row) {
        for (var i = 0u; i < ${lanes}u; i++) { high = max(high, maxima[row * ${lanes}u + i]); }
        ${exponentials(x, `t % ${lanes}u`, lanes)}
        if (t % ${lanes}u == 0u) {
          highest[row] = high;
          correction[row] = c;
        }
        total[t] = total[t] * c + sum;
      }
      workgroupBarrier();`;
}
