/** A packed tensor's bytes, from tensors given as functions of row and column, which are written to a file as a checkpoint has them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OnQuantised } from '../../compiler/bundle/pack-rows.ts';
import { RowPacker } from '../../compiler/bundle/pack-rows.ts';
import type { Packed } from '../../compiler/bundle/packing.ts';
import type { WeightSource } from '../../compiler/bundle/weight-source.ts';
import { FileRanges } from '../../compiler/bundle/weight-source.ts';
import { toF16 } from '../../runtime/half.ts';

export interface GivenTensor { readonly name: string; readonly dtype: 'F32' | 'F16' | 'BF16'; readonly rows: number; readonly columns: number; value(row: number, column: number): number }

/** Items of a dtype as a checkpoint holds them; bf16 is cut, not rounded. */
export function stored(values: ArrayLike<number>, dtype: GivenTensor['dtype']): Uint8Array {
  if (dtype === 'F16') return new Uint8Array(Uint16Array.from(values, toF16).buffer);
  const f32 = Float32Array.from(values);
  return new Uint8Array(dtype === 'F32' ? f32.buffer : Uint16Array.from(new Uint32Array(f32.buffer), (bits) => bits >>> 16).buffer);
}

export async function packed(p: Packed, tensors: readonly GivenTensor[], onQuantised?: OnQuantised): Promise<ArrayBuffer> {
  const folder = mkdtempSync(join(tmpdir(), 'eemllm-packed-')), files = new FileRanges();
  try {
    const sources = Object.fromEntries(tensors.map(({ name, dtype, rows, columns, value }, i): [string, WeightSource] => {
      const path = join(folder, `${i}.bin`);
      writeFileSync(path, stored(Array.from({ length: rows * columns }, (_, k) => value(Math.floor(k / columns), k % columns)), dtype));
      return [name, { name, path, offset: 0, dtype, shape: [rows, columns] }];
    }));
    return new RowPacker(files, sources).rows(p, 0, p.shape[0]!, onQuantised).slice().buffer;
  } finally {
    files.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
