/** The steps of a prompt of a given size as data: what kernels are told of rows, keys and sizes. */
import type { Segment } from '../../../runtime/context.ts';
import { checkCapacity, rowData, spanData, towerSegments } from '../../../runtime/context.ts';
import type { Manifest } from '../../../runtime/manifest.ts';
import type { Dims } from '../../../runtime/polynomial.ts';
import type { Program } from '../../../runtime/program.ts';
import { tilesDim } from '../../bundle/operands.ts';
import type { PromptStep } from '../../bundle/executed.ts';
import { UserError } from '../../ir/errors.ts';

export interface PromptSize { readonly visual: number; readonly text: number; readonly generate: number }

/** @throws UserError, RuntimeError for a prompt that the bundle cannot read */
export function checkSize({ sequences, media, model }: Manifest, { visual, text, generate }: PromptSize): void {
  const [main] = sequences as [Manifest['sequences'][number]];
  if (visual && !media) throw new UserError(`--visual ${visual} was given, but '${model.name}' reads text only. Leave it out.`);
  const each = media?.rowsPerImage;
  if (each && visual % each) throw new UserError(`--visual ${visual} is no whole number of pictures: each is ${each} rows to '${model.name}'. Give a multiple of ${each}, or 0.`);
  main.kinds.forEach((k, i) => checkCapacity(main, i, k.media ? visual : text + generate));
}

/** Writes what a step is told, and gives its dims. */
export function writeStep(program: Program, { sequences }: Manifest, { fresh, keys }: PromptStep): Dims {
  const main = sequences[0]!, dims: Record<string, number> = { [tilesDim]: 1 };
  const count = (segments: readonly Segment[], kind: number): number => segments.reduce((n, s) => n + (s.kind === kind ? s.length : 0), 0);
  main.kinds.forEach((k, i) => { if (k.dim) { dims[k.dim] = count(fresh, i); dims[`C${k.dim}`] = count(keys, i); } });
  for (const s of sequences) {
    const patches = Math.min(...s.kinds.map((k) => (k.dim ? k.capacity : Infinity))), tower = s === main ? [] : towerSegments(s, patches);
    if (s !== main) for (const { dim } of s.kinds) if (dim) dims[dim] = dims[`C${dim}`] = patches;
    // A step reads new rows and held keys of a segment apart: a new token stands behind its run of text.
    const [rows, spans] = s === main ? [fresh, keys] : [tower, tower];
    const data = { rows: rowData(s, rows.map((segment) => ({ segment, from: 0, count: segment.length }))), spans: spanData(s, spans) };
    for (const source of ['rows', 'spans'] as const) {
      const buffer = program.input(source, s.name);
      if (buffer && data[source].byteLength > buffer.size) throw new UserError(`The prompt has ${spans.length} pictures and runs of text, and the bundle has room for ${buffer.size / 32}. Give fewer visual rows.`);
      if (buffer) program.device.queue.writeBuffer(buffer, 0, data[source]);
    }
    dims[`spans_${s.name}`] = spans.length;
  }
  program.writeDims(dims);
  return dims;
}
