/**
 * K of a tile shared among workgroups, for few rows: each leaves the sums of its share in scratch memory, and a second
 * kernel adds them up and finishes the outputs.
 *
 * Scratch: f32 [share][row][place], a row begun on a vec4. Shares are dealt as long as there are few rows; with more, fewer
 * shares, so that the memory is bounded. A single share finishes its outputs itself.
 */
import type { TileSchedule } from '../schedule/matmul-tile.ts';
import { chunkOf } from '../schedule/matmul-tile.ts';
import type { Kernel } from './kernel.ts';
import type { KernelOptions, Lanes, ViewAccess } from './printer.ts';
import { Memory, range, vecType } from './printer.ts';
import type { MatmulGroup, MatmulSpec } from './weight-rows.ts';
import { WeightRows, shapeOf, startsOf } from './weight-rows.ts';

export interface SplitSums {
  /** Statements that write the sums of one row and a chunk of weight rows from `place` on. */
  put(place: string, row: string, sum: (j: number) => string): string;
}

const invocations = 64;
const strideOf = (places: number): number => Math.ceil(places / 4) * 4;
const lanesOf = (chunk: number): Lanes => ([4, 2, 1] as const).find((n) => chunk % n === 0)!;
const layout = (spec: MatmulSpec, chunk: number, memory: Memory): WeightRows =>
  new WeightRows(spec, chunk, memory, (g: MatmulGroup): Lanes => ([4, 2, 1] as const).find((n) => (chunk / g.linears) % n === 0)!);
const shares = (s: TileSchedule): string => `clamp(${s.splitRows}u / max(rows, 1u), 1u, ${s.splits}u)`;

/** f32 elements of scratch memory that a schedule needs. */
export function splitScratch(spec: MatmulSpec, schedule: TileSchedule): number {
  if (schedule.splits === 1) return 0;
  return schedule.splitRows * strideOf(startsOf(spec.groups, chunkOf(schedule, shapeOf(spec))!).places);
}

export function declareSums(memory: Memory, spec: MatmulSpec, weightRows: WeightRows, chunk: number): SplitSums {
  const lanes = lanesOf(chunk), sums = scratchOf(memory, spec, lanes), stride = strideOf(weightRows.places);
  return {
    put: (place, row, sum) => `{ let row = ${row}; if (row < rows && ${place} < ${weightRows.places}u) { let at = (group.z * rows + row) * ${stride}u + ${place};
  ${range(chunk / lanes).map((p) => `{ let sums = ${lanes === 1 ? sum(p) : `${vecType(lanes)}(${range(lanes).map((e) => sum(p * lanes + e)).join(', ')})`}; ${sums.store(p ? `(at + ${p * lanes}u)` : 'at', 'sums', lanes).join(' ')} }`).join('\n  ')} } }`,
  };
}

const scratchOf = (memory: Memory, spec: MatmulSpec, lanes: Lanes): ViewAccess => {
  if (!spec.scratch) throw new RangeError('A schedule that shares K needs scratch memory, and the product has none. Give it a view of matmulScratch() elements.');
  return memory.view('sums', { ...spec.scratch, stride: 4 }, lanes, { width: 4 });
};

/** `splits`, and from where to where this workgroup walks along K, in vectors; whole panels. */
export const splitHead = (s: TileSchedule, total: number, steps: number): string => `  let splits = ${shares(s)};
  if (group.z >= splits) { return; }
  let share = (${Math.ceil(total / steps)}u + splits - 1u) / splits * ${steps}u;
  let begin = group.z * share;
  let end = min(begin + share, ${total}u);
`;

/** Adds up the shares of K: one invocation a chunk of neighbouring weight rows of one row. */
export function sumKernel(spec: MatmulSpec, schedule: TileSchedule, options: KernelOptions): Kernel {
  const memory = new Memory(options), chunk = chunkOf(schedule, shapeOf(spec))!, lanes = lanesOf(chunk), weightRows = layout(spec, chunk, memory);
  const sums = scratchOf(memory, spec, lanes), stride = strideOf(weightRows.places), pieces = range(chunk / lanes), chunks = Math.ceil(weightRows.places / chunk);
  const rows = memory.poly(spec.rows);
  const body = `@compute @workgroup_size(${invocations})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let rows = ${rows};
  let splits = ${shares(schedule)};
  let place = id.x * ${chunk}u;
  let row = id.y;
  if (splits == 1u || place >= ${weightRows.places}u) { return; } // a single share has written its results itself
  ${pieces.map((p) => `var sum${p} = ${vecType(lanes)}(0.0);`).join(' ')}
  for (var s = 0u; s < splits; s++) {
    let at = (s * rows + row) * ${stride}u + place;
    ${pieces.map((p) => `sum${p} += ${sums.load(p ? `(at + ${p * lanes}u)` : 'at', lanes)};`).join(' ')}
  }
  ${weightRows.finish('place', { count: 1, at: () => 'row' }, (_r, j) => `sum${Math.floor(j / lanes)}${lanes > 1 ? `[${j % lanes}]` : ''}`)}
}
`;
  const finish = weightRows.text();
  return {
    family: 'matmul-sum', wgsl: `// shares of K: ${spec.K} of ${weightRows.places} weight rows\n${memory.head()}${finish}\n${body}`, bindings: memory.bindings(), workgroup: [invocations, 1, 1],
    grid: [Math.ceil(chunks / invocations), { ceil: spec.rows, by: 1 }, 1], features: memory.features(),
  };
}
