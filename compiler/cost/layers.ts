/** The layer that an op belongs to, read off its module path: attribute paths number the layers of a model. */

export interface Layer {
  /** Path of the list that the layer stands in, `language_model.model.layers`: tower and decoder have one each. */
  readonly stack: string;
  /** Place in that list, from 0 on. */
  readonly index: number;
}

/** The outermost numbered module on a path; undefined for what stands outside the layers, such as embeddings and the head. */
export function layerOf(path: string): Layer | undefined {
  const found = /^(.*?)\.(\d+)(?:\.|$)/.exec(path);
  return found ? { stack: found[1]!, index: Number(found[2]) } : undefined;
}
