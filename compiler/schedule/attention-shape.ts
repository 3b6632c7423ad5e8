/** What every form of the attention family is told of its work, and what it makes of it. */

/** Sizes that a schedule depends on. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Elements that are loaded at once: what divides heads and strides. */
  readonly vector: 1 | 2 | 4;
  /** Number of query rows, where it does not depend on the prompt. */
  readonly queryRows?: number;
  /** Few queries against many keys: text that reads images which were read before. */
  readonly fewQueries: boolean;
  /** The mask has to be asked about single pairs of rows. */
  readonly masked: boolean;
}

/** What a schedule makes of a shape, whatever its form. Sizes in vectors of `AttentionShape.vector` elements where named so. */
export interface AttentionBlocking {
  readonly invocations: number;
  /** Query rows and keys of one block. */
  readonly rows: number;
  readonly keys: number;
  /** Vectors of a query head and of a value head. */
  readonly headVectors: number;
  readonly valueVectors: number;
  /** Lanes that share the channels, and vectors of channels of each. */
  readonly channelLanes: number;
  readonly channels: number;
  /** Keys whose values are weighted at a time: the last of a block are padding. */
  readonly valueKeys: number;
  /** Query heads that one workgroup serves. */
  readonly headsPerGroup: number;
}

/** Query rows of one head group when a step has one row: decode. */
export const oneRow = (shape: AttentionShape): number | undefined => (shape.queryRows !== undefined && shape.queryRows <= 2 ? shape.queryRows * (shape.heads / shape.kvHeads) : undefined);

/** The splits that are worth a try: keys are shared where there are few query rows. */
export const splitsWorthATry = (shape: AttentionShape): readonly number[] => (oneRow(shape) !== undefined ? [1, 4, 16] : shape.fewQueries ? [1, 4] : [1]);

/** Rows of scratch memory that go with a number of splits. */
export const splitRowsOf = (splits: number, shape: AttentionShape): number => (splits > 1 ? Math.max(splits, oneRow(shape) === undefined ? 256 : splits) : 0);
