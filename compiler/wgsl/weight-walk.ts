/** The walk along K of an invocation that reads its weight rows where they lie: four elements a step, quantised ones by groups. */
import { range } from './printer.ts';
import type { WeightRowAccess } from './weights.ts';

/**
 * The loop over K around `step`: the statements of one step at `k`, given the text of the vector of weight row `j`. The rows begin
 * at `w0`, `w1`, …; scales of whole rows (int8) are left to who finishes the sums.
 */
export function walkWeights(weight: WeightRowAccess, K: number, outputs: number, step: (vector: (j: number) => string) => string): string {
  if (weight.fetchesPerScale) return walkGroups(weight, weight.fetchesPerScale, K, range(outputs), step);
  return `  for (var k = 0u; k < ${Math.ceil(K / 4)}u; k++) {\n${step((j) => weight.loadFour(`w${j}`, 'k'))}  }\n`;
}

/** K in groups that share a scale, which is read once a group; within, fetch by fetch, each for all its vectors. */
function walkGroups(weight: WeightRowAccess, run: number, K: number, rows: readonly number[], step: (vector: (j: number) => string) => string): string {
  const { parts } = weight, fetches = Math.ceil(K / (4 * parts));
  return `  for (var n = 0u; n < ${Math.ceil(fetches / run)}u; n++) {
${rows.map((j) => `  let q${j} = ${weight.groupScale!(`w${j}`, 'n')};\n`).join('')}  for (var at = n * ${run}u; at < ${fetches % run ? `min((n + 1u) * ${run}u, ${fetches}u)` : `(n + 1u) * ${run}u`}; at++) {
${rows.map((j) => `    let f${j} = ${weight.fetch(`w${j}`, 'at')};\n`).join('')}${range(parts).map((p) => `    { let k = at * ${parts}u${p ? ` + ${p}u` : ''};\n${step((j) => `${weight.vector(`f${j}`, p)} * q${j}.x + q${j}.y`)}    }\n`).join('')}  }
  }
`;
}
