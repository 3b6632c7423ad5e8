import type { TilingRule } from '../../runtime/tiling/rule.ts';
import type { GraphBuilder } from '../ir/builder.ts';
import { rowSet } from '../ir/rows.ts';
import { tensorType } from '../ir/types.ts';
import { rowsOf, tracing } from './context.ts';
import type { ImageLayout, PictureSize } from './image-layout.ts';
import { Module } from './module.ts';
import type { Dim } from './parameter.ts';
import { dimSize } from './parameter.ts';
import { sequence } from './sequence.ts';
import type { Sequence } from './sequence.ts';
import { Integers, PictureRows, Pictures, RowMap, Tensor } from './tensor.ts';

/** A JSON object, as it stands in a file. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** Something that the caller of a model gives: what it looks like, and when it is known. */
export interface Input<Value> {
  /** Adds the input's leaf to the graph. @internal */
  declare(name: string, builder: GraphBuilder): Value;
}
/** The values of declared inputs: `{ ids: Input<Integers<'text'>> }` gives `{ ids: Integers<'text'> }`. */
export type Given<Inputs> = { readonly [Name in keyof Inputs]: Inputs[Name] extends Input<infer Value> ? Value : never };

/** Token ids of one kind of row, `i32[kind]`; known when the prompt is. */
export const ids = <Kinds extends string, Kind extends Kinds>(tokens: Sequence<Kinds>, kind: Kind): Input<Integers<Kind>> => ({
  declare: (name, b) => new Integers<Kind>(b.input(name, tensorType('i32', rowsOf(tokens, [kind]), []), 'prompt')),
});

/** Embeddings of one kind of row, `f32[kind, width]`; known when the image is. */
export const embeddings = <Kinds extends string, Kind extends Kinds, Config, Width extends Dim<Config>>(tokens: Sequence<Kinds>, kind: Kind, cfg: Config, width: Width): Input<Tensor<Kind, Width>> => ({
  declare: (name, b) => new Tensor<Kind, Width>(b.input(name, tensorType('f32', rowsOf(tokens, [kind]), [dimSize(cfg, width)]), 'image'), width),
});

/**
 * From which rows each row of a kind is gathered (`gatherRows`): `i32[kind, sources]`, and with several sources to a row their
 * weights `f32[kind, sources]`, an input of its own named `…_weights`. Known when the image is.
 */
export const rowMap = <Kinds extends string, Kind extends Kinds>(tokens: Sequence<Kinds>, kind: Kind, sources = 1): Input<RowMap<Kind>> => ({
  declare: (name, b) => {
    const rows = rowsOf(tokens, [kind]);
    return new RowMap<Kind>(b.input(name, tensorType('i32', rows, [sources]), 'image'), sources > 1 ? b.input(`${name}_weights`, tensorType('f32', rows, [sources]), 'image') : undefined);
  },
});

/**
 * A picture of any size as rows of its patches, `f32[kind, width]`, and the place of each, `i32[kind]`, an input of its own named
 * `…_positions`; known when the image is. The sequence is a tower's, and its rows are counted by the picture.
 */
export const pictureRows = <Kinds extends string, Kind extends Kinds, Config, Width extends Dim<Config>>(sequence: Sequence<Kinds>, kind: Kind, cfg: Config, width: Width): Input<PictureRows<Kind, Width>> => ({
  declare: (name, b) => {
    const rows = rowsOf(sequence, [kind]);
    return new PictureRows<Kind, Width>(new Tensor(b.input(name, tensorType('f32', rows, [dimSize(cfg, width)]), 'image'), width), new Integers(b.input(`${name}_positions`, tensorType('i32', rows, []), 'image')));
  },
});

const pictureSequence = sequence('pictures', { tile: 1 });
/** Square pictures `f32[tile, num_channels, image_size, image_size]`, resized and normalised; known when the image is. */
export const pictures = (cfg: { readonly num_channels: number; readonly image_size: number }): Input<Pictures> => ({
  declare: (name, b) => {
    tracing().sequence(pictureSequence);
    const size = dimSize(cfg, 'image_size');
    return new Pictures(b.input(name, tensorType('f32', rowSet(pictureSequence.ir, ['tile']), [dimSize(cfg, 'num_channels'), size, size]), 'image'));
  },
});

/**
 * A module that can be compiled: it declares its inputs, and its `forward` gets them by name. What `forward` gives
 * back is the output: the logits of a language model, the features of a tower.
 */
export abstract class Model<Config = unknown> extends Module<Config> {
  /** The config that the model is compiled with when none is given (`--checkpoint`). */
  static config?: JsonObject;
  /** Makes the model's config out of a `config.json`. Without it the model gets the JSON as it is. */
  static readConfig?: (json: JsonObject, where?: string) => unknown;
  /**
   * How a picture of a given size enters the model, by the config that `readConfig` made, as one of so many `images` of a
   * prompt: for a model that cuts pictures into tiles. Without it every picture is resized to one size (image-layout.ts).
   */
  static imageLayout?: (config: never, size: PictureSize, images: number) => ImageLayout;
  /** How pictures are cut into tiles at run time, by the config that `readConfig` made; goes with `imageLayout`. */
  static tiling?: (config: never) => TilingRule;
  abstract readonly inputs: Readonly<Record<string, Input<unknown>>>;
}
/** A class of models: what a model file exports. */
export interface ModelClass {
  new (cfg: never): Model;
  readonly config?: JsonObject;
  readonly readConfig?: (json: JsonObject, where?: string) => unknown;
  readonly imageLayout?: (config: never, size: PictureSize, images: number) => ImageLayout;
  readonly tiling?: (config: never) => TilingRule;
}

/** Makes a model of the class out of a `config.json`. `where` names the file in errors. */
export function createModel(model: ModelClass, json: JsonObject, where = 'config.json'): Model {
  return new model((model.readConfig ? model.readConfig(json, where) : json) as never);
}

