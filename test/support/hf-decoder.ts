/**
 * Mistral's and Mixtral's decoders in plain loops over numbers, written from the published modelling (modeling_mistral.py,
 * modeling_mixtral.py of transformers 4.46) and from nothing of this compiler: what definitions are held to.
 */
export type Rows = number[][];
export type WeightOf = (name: string) => ArrayLike<number>;
/** True if row `q` may read row `k`. */
export type Allows = (q: number, k: number) => boolean;

export interface DecoderSizes {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly head_dim: number;
  readonly num_experts_per_tok?: number;
  readonly num_local_experts?: number;
}

/** nn.Linear: y_j = Σ_k W[j, k] x_k + b_j. */
export function linear(x: Rows, w: ArrayLike<number>, bias?: ArrayLike<number>): Rows {
  return x.map((row) => Array.from({ length: w.length / row.length }, (_, j) => row.reduce((sum, v, k) => sum + v * w[j * row.length + k]!, bias?.[j] ?? 0)));
}
export const rmsNorm = (x: Rows, g: ArrayLike<number>, eps: number): Rows => x.map((row) => {
  const scale = 1 / Math.sqrt(row.reduce((s, v) => s + v * v, 0) / row.length + eps);
  return row.map((v, i) => v * scale * g[i]!);
});
export const layerNorm = (x: Rows, g: ArrayLike<number>, b: ArrayLike<number>, eps: number): Rows => x.map((row) => {
  const mean = row.reduce((s, v) => s + v, 0) / row.length, variance = row.reduce((s, v) => s + (v - mean) ** 2, 0) / row.length;
  return row.map((v, i) => ((v - mean) / Math.sqrt(variance + eps)) * g[i]! + b[i]!);
});
export const silu = (x: number): number => x / (1 + Math.exp(-x));
export const softmax = (scores: readonly number[]): number[] => {
  const most = Math.max(...scores), e = scores.map((s) => Math.exp(s - most)), sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
};
export const addRows = (a: Rows, b: Rows): Rows => a.map((row, r) => row.map((v, i) => v + b[r]![i]!));

/** Heads lie side by side in a row; `heads` query heads share `kvHeads` key heads in runs. */
export function attend(q: Rows, k: Rows, v: Rows, heads: number, kvHeads: number, allows: Allows): Rows {
  const size = q[0]!.length / heads, group = heads / kvHeads;
  return q.map((row, i) => Array.from({ length: heads }, (_, h) => {
    const from = Math.floor(h / group) * size, keys = k.flatMap((_, j) => (allows(i, j) ? [j] : []));
    const p = softmax(keys.map((j) => row.slice(h * size, (h + 1) * size).reduce((s, x, c) => s + x * k[j]![from + c]!, 0) / Math.sqrt(size)));
    return Array.from({ length: size }, (_, c) => keys.reduce((s, j, n) => s + p[n]! * v[j]![from + c]!, 0));
  }).flat());
}

/** rotate_half: channels (i, i + d/2) of each head turn by position · θ^(−2i/d). */
function rotate(x: Rows, heads: number, theta: number): Rows {
  return x.map((row, position) => {
    const size = row.length / heads, out = [...row];
    for (let h = 0; h < heads; h++) for (let i = 0; i < size / 2; i++) {
      const angle = position * theta ** ((-2 * i) / size), a = row[h * size + i]!, b = row[h * size + i + size / 2]!;
      out[h * size + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[h * size + i + size / 2] = b * Math.cos(angle) + a * Math.sin(angle);
    }
    return out;
  });
}

/** MixtralSparseMoeBlock: softmax over all experts, the largest taken and divided by their sum, each expert over its own rows. */
function experts(x: Rows, w: WeightOf, path: string, { num_experts_per_tok: top, num_local_experts: count }: DecoderSizes): Rows {
  const routing = linear(x, w(`${path}.gate.weight`)).map(softmax);
  return x.map((row, r) => {
    const chosen = routing[r]!.map((p, e) => ({ p, e })).sort((a, b) => b.p - a.p).slice(0, top), sum = chosen.reduce((s, { p }) => s + p, 0);
    if (chosen.some(({ e }) => e >= count!)) throw new RangeError('The router chose an expert that is not there.');
    return chosen.map(({ p, e }) => gated([row], (name) => w(`${path}.experts.${e}.${({ gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' } as Record<string, string>)[name]}.weight`), silu)[0]!.map((v) => (v * p) / sum))
      .reduce((a, b) => a.map((v, i) => v + b[i]!));
  });
}
/** down(act(gate(x)) · up(x)) */
export function gated(x: Rows, w: WeightOf, act: (v: number) => number): Rows {
  const gate = linear(x, w('gate_proj')), up = linear(x, w('up_proj'));
  return linear(gate.map((row, r) => row.map((v, i) => act(v) * up[r]![i]!)), w('down_proj'));
}

/** The hidden states after the last norm, of rows in the order of the prompt. `path` is where the decoder's tensors stand. */
export function decode(x: Rows, w: WeightOf, path: string, c: DecoderSizes, allows: Allows): Rows {
  const { num_attention_heads: heads, num_key_value_heads: kv } = c;
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const at = `${path}.layers.${i}`, n = rmsNorm(x, w(`${at}.input_layernorm.weight`), c.rms_norm_eps);
    const project = (name: string): Rows => linear(n, w(`${at}.self_attn.${name}.weight`));
    const mixed = attend(rotate(project('q_proj'), heads, c.rope_theta), rotate(project('k_proj'), kv, c.rope_theta), project('v_proj'), heads, kv, allows);
    x = addRows(x, linear(mixed, w(`${at}.self_attn.o_proj.weight`)));
    const m = rmsNorm(x, w(`${at}.post_attention_layernorm.weight`), c.rms_norm_eps);
    x = addRows(x, c.num_local_experts ? experts(m, w, `${at}.block_sparse_moe`, c) : gated(m, (name) => w(`${at}.mlp.${name}.weight`), silu));
  }
  return rmsNorm(x, w(`${path}.norm.weight`), c.rms_norm_eps);
}

/** Rows of a table. */
export const embed = (ids: readonly number[], table: ArrayLike<number>, width: number): Rows => ids.map((id) => Array.from({ length: width }, (_, i) => table[id * width + i]!));
