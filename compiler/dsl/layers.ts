/**
 * The layers that models are made of, named as in PyTorch.
 *
 * Each is a class over the names of its widths (layer-classes.ts) behind a constructor that is typed over the config
 * besides: so an editor lists the config's dims, and a misspelt one is an error at the name.
 */
import * as classes from './layer-classes.ts';
import type { LinearOptions, NormOptions, PatchConfig, PatchOptions } from './layer-classes.ts';
import type { Dim } from './parameter.ts';

export type { LinearOptions, NormOptions, PatchOptions };

/** x·Wᵀ + b for every row, with W `[Out, In]` as checkpoints store it. */
export type Linear<In extends string, Out extends string> = classes.Linear<In, Out>;
export const Linear: new <Config, In extends Dim<Config>, Out extends Dim<Config>>(cfg: Config, from: In, to: Out, options?: LinearOptions<In>) => Linear<In, Out> = classes.Linear;

/** Row `id` of a table `[entries, Width]`, for every row of ids. */
export type Embedding<Width extends string> = classes.Embedding<Width>;
export const Embedding: new <Config, Width extends Dim<Config>>(cfg: Config, entries: Dim<Config>, width: Width) => Embedding<Width> = classes.Embedding;

/** g · x / √(mean(x²) + eps), row by row (arXiv 1910.07467). */
export type RMSNorm<Width extends string> = classes.RMSNorm<Width>;
export const RMSNorm: new <Config, Width extends Dim<Config>>(cfg: Config, width: Width, options: NormOptions) => RMSNorm<Width> = classes.RMSNorm;

/** g · (x − mean) / √(var + eps) + b, row by row (arXiv 1607.06450). */
export type LayerNorm<Width extends string> = classes.LayerNorm<Width>;
export const LayerNorm: new <Config, Width extends Dim<Config>>(cfg: Config, width: Width, options: NormOptions) => LayerNorm<Width> = classes.LayerNorm;

/** The patch convolution of a ViT (stride = kernel): weight `[Out, num_channels, patch_size, patch_size]`. */
export type PatchEmbedding<Out extends string> = classes.PatchEmbedding<Out>;
export const PatchEmbedding: new <Config extends PatchConfig, Out extends Dim<Config>>(cfg: Config, to: Out, options?: PatchOptions) => PatchEmbedding<Out> = classes.PatchEmbedding;
