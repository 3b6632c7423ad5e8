/**
 * `eemllm`: what the author of a model imports. A model is a class with one `forward`; a mask says who may attend to
 * whom; a row rule says which rows a sublayer rewrites. The compiler derives the rest.
 */
export { UserError } from '../ir/errors.ts';
export { Fraction } from '../ir/fraction.ts';
export { suggest } from '../ir/spelling.ts';
export type { ImageLayout, PictureSize } from './image-layout.ts';
export { inLayers, atLayer } from './layer-choice.ts';
export type { LayerChoice, PerLayer } from './layer-choice.ts';
export { Embedding, LayerNorm, Linear, PatchEmbedding, RMSNorm } from './layers.ts';
export type { LinearOptions, NormOptions, PatchOptions } from './layers.ts';
export { allOf, isMask, mask } from './mask.ts';
export type { AnyMask, Mask, MaskParameters, Token } from './mask.ts';
export { Model, createModel, embeddings, ids, pictureRows, pictures, rowMap } from './model.ts';
export type { Given, Input, JsonObject, ModelClass } from './model.ts';
export { Module, countParameters, parameters } from './module.ts';
export type { NamedParameter } from './module.ts';
export { asRows, attention, broadcast, expertLinear, gatherRows, gelu, gelu_tanh, index, learnedRows, linearPart, mixExperts, patches, pixelShuffle, position, quick_gelu, relu, rope, sigmoid, silu, tanh, topK } from './ops.ts';
export type { Activation, AttentionOptions, RopeOptions, RopeScaling } from './ops.ts';
export { Parameter, parameter } from './parameter.ts';
export type { AnyParameter, Dim } from './parameter.ts';
export { Sequence, generatedKind, sequence } from './sequence.ts';
export type { AnySequence, KindsOf } from './sequence.ts';
export { Integers, PictureRows, Pictures, RowMap, Rows, Tensor, merge } from './tensor.ts';
