/** The layers that models are made of, with the names of their widths in their types. Authors get them from layers.ts. */
import { UserError } from '../ir/errors.ts';
import type { Node } from '../ir/graph.ts';
import { emit, tracing } from './context.ts';
import { Module } from './module.ts';
import { patches } from './ops.ts';
import type { AnyParameter } from './parameter.ts';
import { Parameter, dimSize } from './parameter.ts';
import type { Sequence } from './sequence.ts';
import type { Integers, Pictures } from './tensor.ts';
import { Tensor, checkWidth } from './tensor.ts';
import { callSite } from './where.ts';

const leaves = (...parameters: readonly (AnyParameter | undefined)[]): Node[] => parameters.flatMap((p) => (p ? [tracing().weight(p)] : []));

export interface LinearOptions<In extends string> {
  /** Whether it adds a bias; true by default, as in PyTorch. */
  readonly bias?: boolean;
  /** The weight of another layer in place of one of its own: tied embeddings. */
  readonly weight?: Parameter<In> | undefined;
}
/** x·Wᵀ + b for every row, with W `[Out, In]` as checkpoints store it. */
export class Linear<in out In extends string, in out Out extends string> extends Module {
  readonly weight: Parameter<In>;
  readonly bias?: Parameter<Out>;
  constructor(cfg: unknown, private readonly from: In, readonly to: Out, { bias = true, weight }: LinearOptions<In> = {}) {
    super(cfg);
    const out = dimSize(cfg, to), own = new Parameter([out, dimSize(cfg, from)], from);
    if (weight && String(weight.shape) !== String(own.shape))
      throw new UserError(`A Linear from ${from} to ${to} has a weight of [${own.shape.join(', ')}]; the weight shared with it is [${weight.shape.join(', ')}].`, callSite());
    this.weight = weight ?? own;
    if (bias) this.bias = new Parameter([out], to);
  }
  forward<Kinds extends string>(x: Tensor<Kinds, In>): Tensor<Kinds, Out> {
    checkWidth(x, this.weight.view[1]!, this.from, 'A Linear');
    return new Tensor<Kinds, Out>(emit('linear', [x.node, ...leaves(this.weight, this.bias)]), this.to);
  }
}

/** Row `id` of a table `[entries, Width]`, for every row of ids. */
export class Embedding<in out Width extends string> extends Module {
  readonly weight: Parameter<Width>;
  constructor(cfg: unknown, entries: string, private readonly to: Width) {
    super(cfg);
    this.weight = new Parameter([dimSize(cfg, entries), dimSize(cfg, to)], to);
  }
  forward<Kinds extends string>(ids: Integers<Kinds>): Tensor<Kinds, Width> {
    return new Tensor<Kinds, Width>(emit('embed', [ids.node, ...leaves(this.weight)]), this.to);
  }
}

export interface NormOptions { readonly eps: number }
/** g · x / √(mean(x²) + eps), row by row (arXiv 1910.07467). */
export class RMSNorm<in out Width extends string> extends Module {
  readonly weight: Parameter<Width>;
  constructor(cfg: unknown, private readonly width: Width, private readonly options: NormOptions) {
    super(cfg);
    this.weight = new Parameter([dimSize(cfg, width)], width);
  }
  forward<Kinds extends string>(x: Tensor<Kinds, Width>): Tensor<Kinds, Width> {
    checkWidth(x, this.weight.view[0]!, this.width, 'An RMSNorm');
    return new Tensor<Kinds, Width>(emit('rms_norm', [x.node, ...leaves(this.weight)], { eps: this.options.eps }), x.width);
  }
}

/** g · (x − mean) / √(var + eps) + b, row by row (arXiv 1607.06450). */
export class LayerNorm<in out Width extends string> extends Module {
  readonly weight: Parameter<Width>;
  readonly bias: Parameter<Width>;
  constructor(cfg: unknown, private readonly width: Width, private readonly options: NormOptions) {
    super(cfg);
    this.weight = new Parameter([dimSize(cfg, width)], width);
    this.bias = new Parameter([dimSize(cfg, width)], width);
  }
  forward<Kinds extends string>(x: Tensor<Kinds, Width>): Tensor<Kinds, Width> {
    checkWidth(x, this.weight.view[0]!, this.width, 'A LayerNorm');
    return new Tensor<Kinds, Width>(emit('layer_norm', [x.node, ...leaves(this.weight, this.bias)], { eps: this.options.eps }), x.width);
  }
}

export interface PatchOptions { readonly bias?: boolean }
export interface PatchConfig { readonly num_channels: number; readonly patch_size: number }
/** The patch convolution of a ViT (stride = kernel): weight `[Out, num_channels, patch_size, patch_size]`. */
export class PatchEmbedding<in out Out extends string> extends Module<PatchConfig> {
  readonly weight: Parameter<'patch'>;
  readonly bias?: Parameter<Out>;
  constructor(cfg: PatchConfig, private readonly to: Out, { bias = true }: PatchOptions = {}) {
    super(cfg);
    const out = dimSize(cfg, to), channels = dimSize(cfg, 'num_channels'), size = dimSize(cfg, 'patch_size');
    this.weight = new Parameter([out, channels, size, size], 'patch', [out, channels * size * size]);
    if (bias) this.bias = new Parameter([out], to);
  }
  /** Of pictures, which are cut into patches; or of rows that are patches already, as those of a picture of any size. */
  forward<Kind extends string, Width extends string>(rows: Tensor<Kind, Width>): Tensor<Kind, Out>;
  forward<Kinds extends string, Kind extends Kinds>(pixels: Pictures, sequence: Sequence<Kinds>, kind: Kind): Tensor<Kind, Out>;
  forward<Kinds extends string, Kind extends Kinds>(pixels: Pictures | Tensor<Kind, string>, sequence?: Sequence<Kinds>, kind?: Kind): Tensor<Kind, Out> {
    const rows = pixels instanceof Tensor ? pixels : patches(pixels, sequence!, kind!, this.cfg.patch_size, 'patch');
    return new Tensor<Kind, Out>(emit('linear', [rows.node, ...leaves(this.weight, this.bias)]), this.to);
  }
}
