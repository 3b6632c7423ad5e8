/** Golden files for tests of `verify`: what some reference gave for one case, in the layout of test/fixtures/README.md. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';

export interface GoldenTensor { readonly name: string; readonly shape: readonly number[]; readonly values: Float32Array | Int32Array | Uint8Array }
export interface WrittenCase {
  readonly name: string;
  readonly prompt: string;
  readonly images: readonly number[];
  readonly positions: number;
  readonly visual: number;
  readonly variants: Readonly<Record<string, { readonly generated: readonly number[] }>>;
  /** Names without the case. */
  readonly tensors: readonly GoldenTensor[];
}

/** Writes `golden.json` and `golden.safetensors`; `pictures` are decoded, `[height, width, 3]`. */
export async function writeGolden(folder: string, imageToken: number, c: WrittenCase, pictures: readonly { readonly width: number; readonly height: number; readonly data: Uint8Array }[]): Promise<void> {
  const dtype = (x: GoldenTensor['values']): 'F32' | 'I32' | 'U8' => (x instanceof Float32Array ? 'F32' : x instanceof Int32Array ? 'I32' : 'U8');
  const tensor = (name: string, shape: readonly number[], values: GoldenTensor['values']) => ({ name, dtype: dtype(values), shape: [...shape], data: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength) });
  await writeSafetensors(folder, [
    ...pictures.map((p, k) => tensor(`images.${k}.rgb`, [p.height, p.width, 3], p.data)),
    ...c.tensors.map((t) => tensor(`${c.name}.${t.name}`, t.shape, t.values)),
  ], { prefix: 'golden' });
  writeFileSync(join(folder, 'golden.json'), JSON.stringify({
    image_token_id: imageToken,
    cases: [{ name: c.name, prompt: c.prompt, images: c.images, num_positions: c.positions, num_visual: c.visual, tensors: c.tensors.map((t) => [t.name, t.shape]), variants: c.variants }],
  }));
}
