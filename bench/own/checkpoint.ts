/** A Llama-like decoder with random weights, as a temporary checkpoint: widths of real models, few layers. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { createModel } from '../../compiler/dsl/model.ts';
import { Llama } from '../../models/llama.ts';
import { noise } from '../../test/support/attention.ts';

export interface Size { readonly hidden: number; readonly intermediate: number; readonly layers: number; readonly heads: number; readonly kvHeads: number; readonly vocabulary: number }

/** Bytes that a decode step reads at least: every matrix once (weights of `weightBytes`) and the cache of `rows` rows in f32. */
export function decodeBytes(s: Size, rows: number, weightBytes: number): number {
  const kv = (s.hidden / s.heads) * s.kvHeads;
  return weightBytes * (s.layers * s.hidden * (2 * s.hidden + 2 * kv + 3 * s.intermediate) + s.hidden * s.vocabulary) + 4 * s.layers * 2 * kv * rows;
}

export async function writeRandomCheckpoint(folder: string, s: Size): Promise<void> {
  const config = {
    model_type: 'llama', hidden_size: s.hidden, intermediate_size: s.intermediate, num_hidden_layers: s.layers, num_attention_heads: s.heads,
    num_key_value_heads: s.kvHeads, vocab_size: s.vocabulary, max_position_embeddings: 8192, rms_norm_eps: 1e-5, tie_word_embeddings: false, eos_token_id: 0,
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(folder, trace(createModel(Llama, config)).parameters.map(({ name, shape }, i) => ({
    name, shape, dtype: 'F32' as const,
    data: () => {
      const random = noise(i + 1), matrix = shape.length > 1, scale = matrix ? 1 / Math.sqrt(shape.at(-1)!) : 0.1;
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => (matrix ? 0 : 1) + scale * random());
      return new Uint8Array(values.buffer);
    },
  })), { prefix: 'model' });
}
