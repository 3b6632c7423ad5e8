/**
 * The left operand of a product, four elements of K at a time, with its prologue applied on the way in: a plain value,
 * a normalised one (statistics come from `row_stats`), or patches of pictures read where they lie.
 */
import type { Memory, ViewAccess } from './printer.ts';
import { range } from './printer.ts';
import type { Norm } from './statistics.ts';
import { declareNormWeights, maskTail } from './statistics.ts';
import type { MatmulSpec, Patches } from './weight-rows.ts';

export interface OperandA {
  readonly norm: Norm | undefined;
  /** The view of A; patches have none. */
  readonly view: ViewAccess | undefined;
  /** True for an RMS norm: 1/σ may scale the finished sums instead of every element. */
  readonly scaleAfter: boolean;
  /** Statements before the loop for row `row` (clamped) named `id`; `statsRow` is its index in `row_stats`. */
  declareRow(id: string, row: string, statsRow: string): string;
  /** Statements at the head of a step over group `k` of K (`kc`: clamped). */
  declareStep(k: string, kc: string): string;
  /** Elements of row `id` in group `k`, beyond K zero. */
  load(id: string, k: string, opts: { gain: boolean }): string;
  /** The same before the prologue; patches are their own. */
  raw(id: string, k: string): string;
}

/** `unit`: elements of K in a step of the walk, a multiple of 4; what the last step reads beyond K counts as 0. */
export function declareOperandA(memory: Memory, spec: MatmulSpec, unit: number): OperandA {
  const { prologue, K } = spec, masked = (x: string, k: string): string => maskTail(x, k, K, unit);
  if (prologue?.kind === 'patches') return declarePatches(memory, spec, prologue, masked);
  const view = memory.view('a', spec.a, 4);
  const weights = prologue && declareNormWeights(memory, prologue, K);
  const rms = prologue?.kind === 'rms_norm';
  return {
    norm: prologue, view, scaleAfter: rms,
    declareRow: (id, row, statsRow) => `  let a${id} = ${view.rowUnit(row)};\n${prologue && !rms ? `  let stats${id} = row_stats[${statsRow}];\n` : ''}`,
    declareStep: (_k, kc) => (weights ? `    let gain_k = ${weights.gain(kc)};\n${weights.bias ? `    let bias_k = ${weights.bias(kc)};\n` : ''}` : ''),
    raw: (id, k) => masked(view.loadFour(`a${id}`, k), k),
    load: (id, k, { gain }) => {
      const x = view.loadFour(`a${id}`, k);
      if (!prologue) return masked(x, k);
      if (rms) return masked(gain ? `${x} * gain_k` : x, k);
      return masked(`(${x} - vec4<f32>(stats${id}.x)) * stats${id}.y * gain_k${weights!.bias ? ' + bias_k' : ''}`, k);
    },
  };
}

/** Patch `row` counts over pictures, then down and across; k over channels, then down and across the patch. */
function declarePatches(memory: Memory, spec: MatmulSpec, p: Patches, masked: (x: string, k: string) => string): OperandA {
  const across = Math.floor(p.width / p.size), down = Math.floor(p.height / p.size), first = spec.a.column ?? 0;
  // Four neighbours in k lie side by side in the picture if the patch's width allows; else each has its own address.
  const together = p.size % 4 === 0;
  const pictures = memory.vector('pictures', spec.a.binding, spec.a.storage, together ? 4 : 1, ...[p.width % 4 === 0 ? p.width : 1, first] as const);
  const offset = (k: string): string => `(${k}) / ${p.size * p.size}u * ${p.height * p.width}u + (${k}) / ${p.size}u % ${p.size}u * ${p.width}u + (${k}) % ${p.size}u`;
  const load = (id: string, k: string): string => masked(together ? pictures.load(`a${id} + at0`, 4) : `vec4<f32>(${range(4).map((i) => pictures.load(`a${id} + at${i}`, 1)).join(', ')})`, k);
  return {
    norm: undefined, view: undefined, scaleAfter: false, load, raw: load,
    declareRow: (id, row) => `  let patch${id} = ${row};
  let a${id} = (patch${id} / ${across * down}u * ${p.channels * p.height}u + patch${id} / ${across}u % ${down}u * ${p.size}u) * ${p.width}u + patch${id} % ${across}u * ${p.size}u${first ? ` + ${first}u` : ''};\n`,
    declareStep: (_k, kc) => (together ? `    let at0 = ${offset(`4u * ${kc}`)};\n` : range(4).map((i) => `    let at${i} = ${offset(`4u * ${kc} + ${i}u`)};\n`).join('')),
  };
}
