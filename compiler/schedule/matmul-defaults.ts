/** The space of matmul schedules that a tuner may search, and what is taken where nobody has measured. */
import type { DeviceClass, DeviceFacts } from './device-facts.ts';
import { subgroupSizes } from './device-facts.ts';
import type { ExchangeSchedule } from './matmul-exchange.ts';
import { exchangeTile } from './matmul-exchange.ts';
import type { RowsSchedule } from './matmul-rows.ts';
import type { MatmulSchedule } from './matmul-schedule.ts';
import { whyNotMatmul } from './matmul-schedule.ts';
import type { TileSchedule } from './matmul-tile.ts';
import type { MatmulShape } from './product-shape.ts';
import { widened } from './product-shape.ts';
import type { SubgroupMatrixSchedule } from './subgroup-matrix.ts';

const tile = (threads: TileSchedule['threads'], outputs: TileSchedule['outputs'], depth: number, more: Partial<TileSchedule> = {}): TileSchedule =>
  ({ family: 'matmul', form: 'tile', threads, outputs, depth, sum: 'dot', panels: 'f32', splits: 1, splitRows: 0, ...more });
const rows = (n: number, lanes: number, outputs: number, teams: number, subgroup = false): RowsSchedule => ({ family: 'matmul', form: 'rows', rows: n, lanes, outputs, teams, sum: 'dot', subgroup });

/** Tiles. A GPU's outputs are wide and long alike, for every vector that is loaded serves a row of them; CPUs have few registers. */
function tiles(facts: DeviceFacts): TileSchedule[] {
  if (facts.class === 'software') {
    const threads = [[8, 1], [32, 1], [8, 4], [4, 8], [16, 4], [4, 4]] as const, outputs = [[4, 2], [4, 4], [4, 8], [8, 4], [2, 8], [8, 2], [3, 8], [8, 8]] as const;
    return outputs.flatMap((o) => threads.flatMap((t) => (['dot', 'vec4'] as const).map((sum) => tile(t, o, 0, { sum }))));
  }
  const threads = [[16, 16], [16, 8], [8, 16], [8, 8], [16, 4], [8, 4]] as const, outputs = [[4, 4], [4, 8], [8, 4], [8, 8]] as const;
  const panelled = outputs.flatMap((o) => threads.flatMap((t) => [8, 16, 32].flatMap((depth) => (['f32', 'f16'] as const).map((panels) => tile(t, o, depth, { panels })))));
  const shared = ([[[16, 8], [4, 4]], [[8, 8], [4, 4]], [[16, 4], [4, 4]]] as const).flatMap(([t, o]) => [16, 32].flatMap((depth) => [4, 8].map((splits) => tile(t, o, depth, { splits, splitRows: 512 }))));
  return [...panelled, ...outputs.flatMap((o) => ([[8, 8], [16, 16]] as const).map((t) => tile(t, o, 0))), ...shared];
}

/** Blocks of few rows. */
const blocks = (facts: DeviceFacts): RowsSchedule[] => (facts.class === 'software' ? [] : [2, 4, 8, 16].flatMap((n) => [1, 2, 4].flatMap((outputs) =>
  ([[32, 2], [32, 4], [64, 2], [64, 4]] as const).flatMap(([lanes, teams]) => [false, true].map((subgroup) => rows(n, lanes, outputs, teams, subgroup))))));

/** Rows that lanes exchange, where subgroups are of a known size; a tile's sums are those of some 16 vectors of a CPU, or as many registers of a GPU. */
function exchanges(facts: DeviceFacts): ExchangeSchedule[] {
  const lanes = facts.subgroups?.min ?? 0;
  if (facts.class !== 'software' || !lanes) return [];
  return [2, 4, 1].flatMap((rows) => [4, 8, 2, 1].flatMap((outputs) => [1, 4].map((teams): ExchangeSchedule => ({ family: 'matmul', form: 'exchange', lanes, rows, outputs, teams }))))
    .filter((s) => exchangeTile(s).rows * s.outputs <= 128);
}

/** A tile of subgroup matrices for every shape that the device multiplies with sums in f32. `wide`, `long`: weight rows and rows of a piece. */
function matrixTiles(facts: DeviceFacts, grid: SubgroupMatrixSchedule['grid'], wide: number, long: number, depth: number): SubgroupMatrixSchedule[] {
  const subgroup = Math.min(32, subgroupSizes(facts).max);
  return (facts.subgroupMatrix ?? []).flatMap(({ M, N, K, component, result }) => (result === 'f32' && (component === 'f16' || component === 'f32')
    ? [{ family: 'matmul', form: 'subgroup-matrix', M, N, K, component, grid, matrices: [Math.max(1, wide / N), Math.max(1, long / M)], depth, subgroup } as const] : []));
}
const matrices = (facts: DeviceFacts): SubgroupMatrixSchedule[] =>
  ([[2, 2], [1, 4], [4, 1], [2, 4], [4, 2]] as const).flatMap((grid) => [16, 32, 64].flatMap((wide) => [16, 32, 64].flatMap((long) => [16, 32].flatMap((depth) => matrixTiles(facts, grid, wide, long, depth)))));

const key = (s: MatmulSchedule): string => JSON.stringify(s);
/** All matmul schedules worth a try on a device, legal for the shape; of each form the likeliest first, which a tuner begins with. */
export function matmulSpace(shape: MatmulShape, facts: DeviceFacts): MatmulSchedule[] {
  const all: MatmulSchedule[] = [...tiles(facts), ...blocks(facts), ...exchanges(facts), ...bestMatrices(facts), ...matrices(facts)];
  const fitting = all.map((s) => fitted(s, shape)).filter((s) => !whyNotMatmul(s, shape, facts));
  return [...new Map(fitting.map((s) => [key(s), s])).values()];
}

/** With as many weight rows an invocation as hold whole outputs. */
function fitted(s: MatmulSchedule, shape: MatmulShape): MatmulSchedule {
  switch (s.form) {
    case 'tile': return { ...s, outputs: [widened(s.outputs[0], shape), s.outputs[1]] };
    case 'rows':
    case 'exchange': return { ...s, outputs: widened(s.outputs, shape) };
    default: return s;
  }
}

/**
 * Defaults. Software: measured with bench/matmul.ts on lavapipe (Mesa 25.0.7, 8 lanes) and SwiftShader 5 (4 lanes), two
 * cores: staging in workgroup memory is 2 to 5 times slower there than reading operands directly, and takes seconds to
 * compile; larger register tiles than 8 × 4 spill.
 *
 * GPU: nobody has measured yet on real hardware; these are chosen by what is known of it. A 64 × 128 tile with a panel of 16
 * fits the smallest legal workgroup memory together with a norm's statistics, holds 32 sums an invocation (few enough for 16 lanes of Intel
 * and for Apple's full occupancy), and makes 128 multiply-adds of 12 vectors read. Panels stay f32: f16 halves the memory, and widening
 * each vector again costs NVIDIA an instruction for every two multiply-adds that it saves to load; a tuner may try.
 */
const many: Readonly<Record<DeviceClass, readonly MatmulSchedule[]>> = {
  software: [tile([4, 8], [8, 4], 0)],
  gpu: [tile([16, 16], [8, 4], 16), tile([8, 8], [8, 4], 16)],
};
/** For few rows: what is loaded of a weight serves them all, and no tile is mostly padding. */
const few: Readonly<Record<DeviceClass, readonly MatmulSchedule[]>> = {
  software: many.software,
  gpu: [rows(8, 32, 4, 4, true), rows(8, 32, 4, 2), rows(8, 32, 2, 2), rows(4, 32, 1, 4), tile([16, 8], [4, 2], 32)],
};

/**
 * Where a device has subgroup matrices, they are what it multiplies fastest with: four subgroups, each 32 rows × 64 weight
 * rows, as ONNX Runtime and llama.cpp shape theirs, in 32 KB of workgroup memory; less where the device has less.
 */
const bestMatrices = (facts: DeviceFacts): SubgroupMatrixSchedule[] => ([[64, 32, 32], [64, 32, 16], [32, 32, 32], [32, 32, 16], [32, 16, 16]] as const).flatMap(([wide, long, depth]) => matrixTiles(facts, [2, 2], wide, long, depth));

/** A legal schedule for any product. `fewRows`: no more than some ten rows are expected. */
export function matmulDefault(shape: MatmulShape, facts: DeviceFacts, { fewRows = false }: { fewRows?: boolean } = {}): MatmulSchedule {
  // The direct form needs no workgroup memory to speak of: it is legal wherever 32 invocations are.
  const wishes = [...(fewRows ? few[facts.class] : [...bestMatrices(facts), ...many[facts.class]]), ...many.software].map((s) => fitted(s, shape));
  const legal = wishes.find((s) => !whyNotMatmul(s, shape, facts));
  if (!legal) throw new RangeError(`No schedule multiplies ${shape.linears.join(', ')} interleaved linears on this device: ${whyNotMatmul(wishes[0]!, shape, facts)}`);
  return legal;
}
